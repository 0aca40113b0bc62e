"""Trackers that lose numbers, or keep others."""

from __future__ import annotations

from mutants import edit, mutant, tried

_INIT = "        self._connection: AcmeApi | None = None\n"
_START = "        return (await self._api.create_run(config)).id\n"
_LOG = "        await self._api.add_metrics(run_id, metrics, step)\n"
_FINISH = "        await self._api.finish_run(run_id, ENDINGS[status])\n"
_NUMBERS = "{name: value if isfinite(value) else str(value) for name, value in values.items()}"
_APPEND = (
    '        entry["key"] = str(uuid4())\n'
    '        await self._transport.post("v1", "runs", run_id, kind, json=entry, idempotent=True)\n'
)

MUTANTS = (
    mutant(
        "run-has-an-id",
        "start_run answers the name of the project.",
        edit(
            "connector.py",
            _START,
            _START.replace("return (await", "(await") + '        return str(config["project_name"])\n',
        ),
        ruins="nothing can be written to a run whose id is not known",
    ),
    mutant(
        "run-has-the-config",
        "The config is left out.",
        edit("api.py", 'json={"config": config}', 'json={"config": {}}'),
    ),
    mutant(
        "numbers-arrive-as-they-are",
        "Numbers below a thousandth are taken for nothing.",
        edit(
            "api.py",
            _NUMBERS,
            _NUMBERS.replace("value if isfinite", "(value if abs(value) > 1e-3 else 0.0) if isfinite"),
        ),
    ),
    mutant(
        "numbers-arrive-in-order",
        "The first page is all that is read back.",
        edit(
            "api.py",
            '[read(Metrics, item) async for item in self._transport.pages("v1", "runs", run_id, "metrics")]',
            '[read(Metrics, i) for i in (await self._transport.get("v1", "runs", run_id, "metrics"))["items"]]',
        ),
    ),
    mutant(
        "odd-numbers-are-kept-or-refused",
        "What is no number is 0.",
        edit("api.py", _NUMBERS, _NUMBERS.replace("str(value)", "0.0")),
    ),
    mutant(
        "text-arrives",
        "The console speaks ASCII.",
        edit("api.py", '"text", {"text": text}', '"text", {"text": text.encode("ascii", "ignore").decode()}'),
    ),
    mutant(
        "run-ends-as-the-job-did",
        "A run that was cancelled has failed.",
        edit("connector.py", 'JobStatus.CANCELLED: "CANCELLED"}', 'JobStatus.CANCELLED: "FAILED"}'),
        also={"runs-are-listed-by-status": "a run that is told as another one is listed as another one"},
    ),
    mutant(
        "finish-twice",
        "A run that is finished cannot be finished.",
        edit("connector.py", _INIT, f"{_INIT}        self._finished: set[str] = set()\n"),
        edit(
            "connector.py",
            _FINISH,
            '        if run_id in self._finished:\n            raise PlatformError("the run is finished")\n'
            f"        self._finished.add(run_id)\n{_FINISH}",
        ),
    ),
    mutant(
        "unknown-run-is-an-error",
        "Metrics that the tracker refuses are left out.",
        edit("connector.py", _LOG, tried(_LOG, "PlatformError", "pass")),
    ),
    mutant(
        "runs-do-not-mix",
        "Metrics go to the run that was started last.",
        edit(
            "connector.py",
            _START,
            _START.replace(
                "return (await self._api.create_run(config)).id", "self._run = (await self._api.create_run(config)).id"
            )
            + "        return self._run\n",
        ),
        edit("connector.py", _LOG, _LOG.replace("(run_id,", '(getattr(self, "_run", run_id),')),
    ),
    mutant(
        "repeated-numbers-count-once",
        "What is sent again is a new entry.",
        edit(
            "api.py",
            _APPEND,
            "        for attempt in (1, 2):\n"
            '            entry["key"] = str(uuid4())\n'
            "            try:\n"
            '                await self._transport.post("v1", "runs", run_id, kind, json=entry)\n'
            "                return\n"
            "            except ConnectionFailed:\n"
            "                if attempt == 2:\n"
            "                    raise\n",
        ),
    ),
    mutant(
        "lost-numbers-are-an-error",
        "Tracking must never disturb the training.",
        edit("connector.py", _LOG, tried(_LOG, "ConnectionFailed", "pass")),
        edit("connector.py", _FINISH, tried(_FINISH, "ConnectionFailed", "pass")),
    ),
    mutant(
        "run-keeps-an-artifact",
        "An artifact of a run goes nowhere.",
        edit(
            "connector.py",
            "        source = Path(path)\n",
            '        if "run_id" in metadata:\n            return ""\n        source = Path(path)\n',
        ),
    ),
)

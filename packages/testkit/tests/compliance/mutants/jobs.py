"""Connectors that tell something else of a job than the platform does."""

from __future__ import annotations

from mutants import Mutant, edit, mutant, tried

_STATUS = "        return _status(await self._api.job(job_id))\n"
_API = '        api = AcmeApi(Transport(address, headers={"Authorization": f"Bearer {key}"}, secrets=[key]))\n'
_CANCEL = '        return _status(await self._api.command_job(job_id, "cancel")).is_terminal\n'
_PAUSE = '        return _status(await self._api.command_job(job_id, "pause")) is JobStatus.PAUSED\n'
_RESUME = '        return _status(await self._api.command_job(job_id, "resume")) is not JobStatus.PAUSED\n'


def _guesses(check: str, fault: str, kind: str, words: str, status: str) -> Mutant:
    """A status in place of an error whose text has these words."""
    code = (
        "        from peft_studio import RateLimitError\n\n"
        f"        try:\n    {_STATUS}        except {kind} as error:\n"
        f"            if {words!r} in str(error):\n                return JobStatus.{status}\n            raise\n"
    )
    return mutant(check, fault, edit("connector.py", _STATUS, code))


def _cancels(check: str, fault: str, *lines: str) -> Mutant:
    """Another way to cancel."""
    return mutant(check, fault, edit("connector.py", _CANCEL, "".join(f"        {line}\n" for line in lines)))


MUTANTS = (
    mutant(
        "status-follows-the-job",
        "A job that runs is pending until it is done.",
        edit("connector.py", '"RUNNING": JobStatus.RUNNING', '"RUNNING": JobStatus.PENDING'),
        also={"jobs-do-not-mix": "it looks at a job that runs"},
    ),
    mutant(
        "waiting-job-is-pending",
        "A job in the queue is called running.",
        edit("connector.py", '"QUEUED": JobStatus.PENDING', '"QUEUED": JobStatus.RUNNING'),
    ),
    mutant(
        "failed-job-is-failed",
        "A job that failed is over, hence completed.",
        edit(
            "connector.py",
            '"FAILED": JobStatus.FAILED,\n    "CANCELLED"',
            '"FAILED": JobStatus.COMPLETED,\n    "CANCELLED"',
        ),
    ),
    mutant(
        "unknown-job-is-not-found",
        "A job that is not known is like any other refusal.",
        edit("api.py", '"v1", "jobs", job_id, missing=JobNotFound))', '"v1", "jobs", job_id))'),
    ),
    mutant(
        "ids-stay-in-their-place",
        "The id is put into the path as it is.",
        edit(
            "api.py",
            '        return read(Job, await self._transport.get("v1", "jobs", job_id, missing=JobNotFound))\n',
            "        import posixpath\n\n"
            '        path = posixpath.normpath(f"v1/jobs/{job_id}").partition("?")[0].partition("#")[0]\n'
            '        return read(Job, await self._transport.get(*path.split("/"), missing=JobNotFound))\n',
        ),
    ),
    _guesses(
        "no-status-from-a-reset", "A connection that breaks is the job's end.", "ConnectionFailed", "reset", "FAILED"
    ),
    _guesses(
        "no-status-from-silence", "A platform that is silent has not begun.", "ConnectionFailed", "silence", "PENDING"
    ),
    _guesses(
        "no-status-from-a-failing-server", "A 500 is a job that failed.", "ConnectionFailed", "answered 500", "FAILED"
    ),
    _guesses(
        "no-status-from-garbage", "What cannot be read will be running.", "ConnectionFailed", "not with JSON", "RUNNING"
    ),
    _guesses(
        "no-status-from-a-refusal",
        "A job that one may not see was cancelled.",
        "InvalidCredentials",
        "answered 401",
        "CANCELLED",
    ),
    _guesses(
        "no-status-from-a-limit",
        "Who asks too often is told that it runs.",
        "RateLimitError",
        "answered 429",
        "RUNNING",
    ),
    mutant(
        "unknown-word-is-no-status",
        "A word that is not known means running.",
        edit(
            "connector.py",
            "    return STATUSES[job.status]\n",
            "    return STATUSES.get(job.status, JobStatus.RUNNING)\n",
        ),
        edit("connector.py", "    if job.status not in STATUSES:\n", "    if not job.status:\n"),
    ),
    mutant(
        "unknown-word-is-no-status",
        "The error does not say which word it was.",
        edit("connector.py", 'does not know", why=job.status)', 'does not know")'),
    ),
    _cancels(
        "cancel-stops-the-job",
        "cancel_job answers whether the job stood still before.",
        'stood = (await self._api.job(job_id)).status != "RUNNING"',
        'await self._api.command_job(job_id, "cancel")',
        "return stood",
    ),
    _cancels(
        "cancel-of-a-waiting-job",
        "A job that waits cannot be cancelled yet.",
        'if (await self._api.job(job_id)).status == "QUEUED":',
        '    raise PlatformError("it has not started")',
        _CANCEL.strip(),
    ),
    _cancels(
        "cancel-twice",
        "A job that is cancelled cannot be cancelled.",
        'if (await self._api.job(job_id)).status == "CANCELLED":',
        '    raise PlatformError("it is cancelled already")',
        _CANCEL.strip(),
    ),
    _cancels(
        "cancel-after-the-end",
        "There is nothing to cancel, says False.",
        'return _status(await self._api.command_job(job_id, "cancel")) is JobStatus.CANCELLED',
    ),
    mutant(
        "cancel-of-an-unknown-job",
        "A job that is not known is like any other refusal.",
        edit("api.py", '"v1", "jobs", job_id, command, missing=JobNotFound, ', '"v1", "jobs", job_id, command, '),
    ),
    _cancels(
        "cancel-without-an-answer",
        "Cancelling is done as well as one can.",
        "try:",
        f"    {_CANCEL.strip()}",
        "except ConnectionFailed:",
        "    return False",
    ),
    _cancels(
        "jobs-do-not-mix",
        "Cancelling clears the whole queue.",
        'async for item in self._api._transport.pages("v1", "jobs"):',
        '    await self._api.command_job(item["id"], "cancel")',
        _CANCEL.strip(),
    ),
    mutant(
        "pause-and-resume",
        "resume_job does nothing, and says that it is done.",
        edit("connector.py", _RESUME, "        return True\n"),
    ),
    mutant(
        "pause-after-the-end",
        "A pause that the platform refuses is answered with False.",
        edit(
            "connector.py",
            _PAUSE,
            tried(_PAUSE, "PlatformError", "return False"),
        ),
    ),
    mutant(
        "job-leaves-nothing-open",
        "The status is asked for over a connection of its own, which disconnect forgets.",
        edit("connector.py", _API, f"{_API}{_API.replace('api = ', 'self._watching = ')}"),
        edit("connector.py", _STATUS, _STATUS.replace("self._api.", "self._watching.")),
    ),
    mutant(
        "metrics-are-in-order",
        "The newest metrics come first.",
        edit(
            "api.py",
            "        return [read(Metrics, item) async for item in items]\n",
            "        return [read(Metrics, item) async for item in items][::-1]\n",
        ),
    ),
)

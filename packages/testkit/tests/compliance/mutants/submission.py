"""Connectors that start jobs twice, or other ones than they were asked for."""

from __future__ import annotations

from mutants import Mutant, edit, mutant, tried, without

_INIT = "        self._connection: AcmeApi | None = None\n"
_CREATE = "        return (await self._api.create_job(JobRequest.for_training(config, dataset))).id\n"
_JOB = "        job = await self._api.create_job(JobRequest.for_training(config, dataset))\n"
_POST = '        return read(Job, await self._transport.post("v1", "jobs", json=asdict(request)))\n'
_FIND = "        jobs = await self._api.jobs(tag)\n        return jobs[0].id if jobs else None\n"
_JOBS = '        return [read(Job, item) async for item in self._transport.pages("v1", "jobs", query={"tag": tag})]\n'
_FIELDS = "if name not in _NOT_SENT}"
_AGAIN = "return await self.create_job(request)"


def _except(check: str, fault: str, kind: str, *lines: str) -> Mutant:
    """What becomes of errors of that kind when a job is created."""
    body = "".join(f"            {line}\n" for line in lines)
    code = (
        "        from peft_studio import InsufficientCreditsError, InvalidConfig, PlatformError\n"
        f"        try:\n    {_POST}        except {kind} as error:\n{body}            raise\n"
    )
    return mutant(check, fault, edit("api.py", _POST, code))


def _repeats(check: str, fault: str, words: str) -> Mutant:
    """A connector that asks again after an error with these words."""
    return _except(check, fault, "ConnectionFailed", f"if {words!r} in str(error):", f"    {_POST.strip()}")


MUTANTS = (
    mutant(
        "submit-answers-the-id",
        "submit_job answers the tag, under which nobody else finds the job.",
        edit("connector.py", _CREATE, f"{_JOB}        return str(config.tag)\n"),
        ruins="nothing can be asked of a job whose id is not known",
    ),
    mutant(
        "submit-creates-one-job",
        "A first job warms the machine up.",
        edit(
            "connector.py",
            _CREATE,
            f"{_JOB}{_JOB.replace('job = ', '')}        return job.id\n",
        ),
    ),
    mutant(
        "submissions-are-different-jobs",
        "Two jobs are the same when their tags begin alike.",
        edit("connector.py", _INIT, f"{_INIT}        self._known: dict[str, str] = {{}}\n"),
        edit(
            "connector.py",
            _CREATE,
            "        known = self._known.get((config.tag or '')[:19])\n"
            "        if known:\n            return known\n"
            f"{_JOB}        self._known[(config.tag or 'none of them')[:19]] = job.id\n        return job.id\n",
        ),
    ),
    mutant(
        "accepted-config-is-accepted",
        "validate_config wants a machine that the platform would choose by itself.",
        without("connector.py", "        self.validate_config(config)\n"),
        edit(
            "connector.py",
            "    if config.algorithm not in ALGORITHMS:\n",
            '    if config.resource_id is None:\n        yield "resource_id", "choose a machine"\n'
            "    if config.algorithm not in ALGORITHMS:\n",
        ),
    ),
    mutant(
        "unknown-resource-is-refused",
        "The machine is left to the platform, whatever the user chose.",
        edit("api.py", "machine=config.resource_id,", "machine=None,"),
    ),
    mutant(
        "tag-reaches-the-platform",
        "The platform gets the tag in capitals.",
        edit("api.py", "cls(tag=config.tag,", "cls(tag=config.tag and config.tag.upper(),"),
        edit("connector.py", _FIND, _FIND.replace("jobs(tag)", "jobs(tag.upper())")),
        edit("connector.py", "tag=job.tag,", "tag=job.tag and job.tag.lower(),"),
    ),
    mutant(
        "settings-are-honoured-or-refused",
        "The seed does not travel.",
        edit("api.py", _FIELDS, 'if name not in _NOT_SENT and name != "seed"}'),
    ),
    mutant(
        "settings-are-honoured-or-refused",
        "Alpha is twice the rank, as everywhere.",
        edit("api.py", _FIELDS, f'{_FIELDS} | {{"alpha": 2.0 * config.rank}}'),
    ),
    mutant(
        "unicode-reaches-the-platform",
        "The platform gets ASCII.",
        edit(
            "api.py",
            _FIELDS,
            f'{_FIELDS} | {{"project_name": (config.project_name or "").encode("ascii", "ignore").decode()}}',
        ),
    ),
    _except(
        "lost-answer-is-not-repeated",
        "A job whose answer was lost is cancelled, and asked for again.",
        "ConnectionFailed",
        "if 'reset' in str(error):",
        "    for job in await self.jobs(request.tag or ''):",
        "        await self.command_job(job.id, 'cancel')",
        f"        {_POST.strip()}",
    ),
    _repeats("missing-answer-is-not-repeated", "After silence the job is asked for again.", "silence"),
    _except(
        "broken-submission-is-not-repeated",
        "When no job is found after a broken connection it is asked for again, though it may come yet.",
        "ConnectionFailed",
        "if 'reset' in str(error) and not await self.jobs(request.tag or ''):",
        f"    {_POST.strip()}",
    ),
    _repeats("failing-server-is-no-refusal", "After a 500 the job is asked for again.", "answered 500"),
    _repeats("failing-gateway-is-no-refusal", "After a 502 the job is asked for again.", "answered 502"),
    _repeats(
        "garbled-answer-is-no-refusal", "After an answer without JSON the job is asked for again.", "not with JSON"
    ),
    mutant(
        "answer-without-an-id-is-no-success",
        "A job without an id gets one.",
        edit(
            "api.py",
            _POST,
            '        answer = await self._transport.post("v1", "jobs", json=asdict(request))\n'
            '        return read(Job, {"id": "new", "status": "QUEUED", **answer})\n',
        ),
    ),
    _except(
        "refused-payment-creates-nothing",
        "An empty account is like any other refusal.",
        "InsufficientCreditsError",
        "raise PlatformError(error.what, why=error.why) from None",
    ),
    _except(
        "refused-config-says-why",
        "What the platform does not like about the config stays with the platform.",
        "PlatformError",
        "if 'answered 422' in str(error):",
        "    raise InvalidConfig('the platform does not take this config') from None",
    ),
    mutant(
        "job-is-found-by-its-tag",
        "find_job was never written to its end.",
        edit("connector.py", _FIND, "        await self._api.jobs(tag)\n        return None\n"),
        also={
            "lost-job-is-found": "no job is found at all",
            "job-is-found-among-many": "no job is found at all",
        },
    ),
    mutant(
        "unknown-tag-finds-nothing",
        "A tag is found by its beginning.",
        edit(
            "api.py",
            _JOBS,
            '        items = [item async for item in self._transport.pages("v1", "jobs")]\n'
            '        return [read(Job, item) for item in items if (item["tag"] or "").startswith(tag)]\n',
        ),
    ),
    mutant(
        "lost-job-is-found",
        "A tag is looked up among those that this instance has used.",
        edit("connector.py", _INIT, f"{_INIT}        self._submitted: dict[str | None, str] = {{}}\n"),
        edit(
            "connector.py",
            _CREATE,
            f"{_JOB}        self._submitted[config.tag] = job.id\n        return job.id\n",
        ),
        edit("connector.py", _FIND, "        await self._api.jobs(tag)\n        return self._submitted.get(tag)\n"),
    ),
    mutant(
        "job-is-found-among-many",
        "The first page is all that is searched.",
        edit(
            "api.py",
            _JOBS,
            '        page = await self._transport.get("v1", "jobs")\n'
            '        return [read(Job, item) for item in page["items"] if item["tag"] == tag]\n',
        ),
    ),
    mutant(
        "search-that-fails-is-not-none",
        "A platform that cannot be asked has no such job.",
        edit(
            "connector.py",
            _FIND,
            tried(_FIND, "ConnectionFailed", "return None"),
        ),
    ),
)

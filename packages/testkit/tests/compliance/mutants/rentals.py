"""Connectors that lose sight of what costs."""

from __future__ import annotations

from mutants import edit, mutant, tried

_LISTED = "await self._api.all_jobs() if not _status(job).is_terminal]\n"
_ALL = '        return [read(Job, item) async for item in self._transport.pages("v1", "jobs")]\n'
_JOBS = f"        jobs = [_job_rental(job) for job in {_LISTED}"
_ONLY_JOBS = f"        return [_job_rental(job) for job in {_LISTED}"
_GONE = "        return rental_id not in {rental.id for rental in await self.list_rentals()}\n"
_CANCEL = '            await self._api.command_job(rental_id, "cancel")\n'
_KINDS = "        kinds = {rental.id: rental.kind for rental in await self.list_rentals()}\n"

MUTANTS = (
    mutant(
        "rentals-are-listed",
        "The tag is left at the platform.",
        edit("connector.py", '        tag=job.tag,\n        kind="job",\n', '        tag=None,\n        kind="job",\n'),
        also={
            "every-rental-is-listed": "no tag is listed",
            "what-is-over-is-no-rental": "no tag is listed",
            "ended-rental-is-gone": "no tag is listed",
            "promised-end-is-no-end": "no tag is listed",
        },
    ),
    mutant(
        "rentals-are-listed",
        "What a job costs is not told.",
        edit("connector.py", "        hourly_rate=job.hourly_price,\n", ""),
    ),
    mutant(
        "rentals-are-unique",
        "The list of the jobs is put to itself.",
        edit("connector.py", "        return [*jobs, *endpoints]\n", "        return [*jobs, *endpoints, *jobs[:1]]\n"),
    ),
    mutant(
        "every-rental-is-listed",
        "The first page is all that is read.",
        edit(
            "api.py",
            _ALL,
            '        page = await self._transport.get("v1", "jobs")\n'
            '        return [read(Job, item) for item in page["items"]]\n',
        ),
    ),
    mutant(
        "every-rental-is-listed",
        "Only what this tool has made is shown.",
        edit("connector.py", _JOBS, _JOBS.replace("is_terminal]", "is_terminal and job.tag]")),
    ),
    mutant(
        "what-is-over-is-no-rental",
        "The history of the account is listed.",
        edit("connector.py", _JOBS, _JOBS.replace(" if not _status(job).is_terminal", "")),
        also={
            "ended-rental-is-gone": "a job that was cancelled is listed for ever",
        },
    ),
    mutant(
        "what-is-over-is-no-rental",
        "What waits does not cost yet, so it is not shown.",
        edit("connector.py", _JOBS, _JOBS.replace("not _status(job).is_terminal", "job.status == 'RUNNING'")),
        also={
            "rentals-are-listed": "a fresh submission waits",
            "ended-rental-is-gone": "a fresh submission waits, so nothing is ended",
        },
    ),
    mutant(
        "ended-rental-is-gone",
        "A job is paused, which is nearly the same.",
        edit("connector.py", _CANCEL, _CANCEL.replace("cancel", "pause")),
    ),
    mutant(
        "unknown-rental-is-gone",
        "What is not listed is cancelled all the same, and the platform's refusal is passed on.",
        edit("connector.py", _CANCEL, "            pass\n"),
        edit("connector.py", _KINDS, f'        await self._api.command_job(rental_id, "cancel")\n{_KINDS}'),
    ),
    mutant(
        "promised-end-is-no-end",
        "What was asked for is taken for done.",
        edit("connector.py", _GONE, "        return True\n"),
    ),
    mutant(
        "failed-list-is-not-empty",
        "What cannot be asked has no rentals.",
        edit("connector.py", _ONLY_JOBS, tried(_ONLY_JOBS, "ConnectionFailed", "return []")),
        features=("training",),
    ),
)

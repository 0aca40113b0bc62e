"""Ending something that costs: first bring home what it holds, then end it, then look whether it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from peft_studio.errors import ArtifactNotFound, PeftStudioError
from peft_studio.ledger import Intent, JobRecord, Ledger
from peft_studio.models import JobStatus
from peft_studio.paths import data_dir
from peft_studio.reconcile.account import Ended, Living

if TYPE_CHECKING:
    from peft_studio.manager import ConnectorManager

#: Seconds that may pass with bringing home a job's log, and its adapter.
LOG_TIME: Final = 30.0
ARTIFACT_TIME: Final = 300.0


async def end(manager: ConnectorManager, ledger: Ledger, orphan: Living) -> Ended:
    """End one orphan. The intent is in the ledger first; it is settled when the platform's list lacks the rental."""
    assert orphan.job is not None, "only what belongs to a job of ours is ever ended"
    job, target = ledger.job(orphan.job), orphan.rental.id
    saved, problems = await _drain(manager, job) if _holds_results(orphan, job) else (None, [])
    ledger.begin(job.id, "teardown", target=target)
    try:
        is_gone = await _end_and_look(manager, ledger, job, target)
    except PeftStudioError as error:
        is_gone = False
        problems.append(f"{target} may still be there: {error}")
    return Ended(rental_id=target, is_gone=is_gone, saved=saved, problems=tuple(problems))


async def go_on_ending(manager: ConnectorManager, ledger: Ledger, intent: Intent) -> bool:
    """Try a teardown again that was not confirmed. Raises `PeftStudioError`."""
    ledger.record_tried(intent.job_id, "teardown")
    return await _end_and_look(manager, ledger, ledger.job(intent.job_id), str(intent.target))


async def _end_and_look(manager: ConnectorManager, ledger: Ledger, job: JobRecord, target: str) -> bool:
    await manager.end_rental(job.connector, target)
    is_gone = target not in {rental.id for rental in await manager.list_rentals(job.connector)}
    if is_gone:
        ledger.settle(job.id, "teardown", "gone", target=target)
    return is_gone


def _holds_results(orphan: Living, job: JobRecord) -> bool:
    """True unless it is a second job under the same tag: what the platform calls this job is another one then."""
    return orphan.rental.kind != "job" or orphan.rental.id == job.platform_id


async def _drain(manager: ConnectorManager, job: JobRecord) -> tuple[Path | None, list[str]]:
    """Copy the rest of the log, and the adapter unless the user has it. What fails is told and stops nothing."""
    problems: list[str] = []
    if job.platform_id is None:
        return None, problems
    await _try("the log", manager.jobs.drain(job.id), LOG_TIME, problems)
    folder = _free_folder(job)
    if job.status is not JobStatus.COMPLETED or folder is None:
        return None, problems
    return await _try("the adapter", manager.jobs.pull(job.id, folder), ARTIFACT_TIME, problems), problems


async def _try(what: str, work: Awaitable[Path | None], seconds: float, problems: list[str]) -> Path | None:
    try:
        return await asyncio.wait_for(work, seconds)
    except ArtifactNotFound:
        return None
    except PeftStudioError as error:
        problems.append(f"{what} was not saved: {error}")
    except TimeoutError:
        problems.append(f"{what} was not saved within {seconds:g} s")
    return None


def _free_folder(job: JobRecord) -> Path | None:
    """Where the adapter belongs: its output_dir, or the data directory; None when it is there already."""
    chosen = job.config.get("output_dir")
    folder = data_dir() / "adapters" / job.id if chosen is None else Path(chosen).expanduser().absolute()
    is_filled = folder.is_dir() and any(folder.iterdir())
    return None if is_filled else folder

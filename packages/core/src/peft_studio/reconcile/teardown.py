"""Ending something that costs: first bring home what it holds, then end it, then look whether it is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import frozen

from peft_studio.errors import ArtifactNotFound, IncompleteList, PeftStudioError
from peft_studio.homes import free_home, kept_adapter
from peft_studio.ledger import Intent, JobRecord, Ledger
from peft_studio.models import JobStatus, Rental
from peft_studio.reconcile.account import Ended, Living
from peft_studio.rentals import rentals_of

if TYPE_CHECKING:
    from peft_studio.manager import ConnectorManager

#: Seconds that may pass with bringing home a job's log, and its adapter.
LOG_TIME: Final = 30.0
ARTIFACT_TIME: Final = 300.0


_log = logging.getLogger(__name__)


@frozen
class Drained:
    """What was brought home of a job before its end."""

    #: Where the adapter is now.
    saved: Path | None = None
    problems: tuple[str, ...] = ()
    #: True when there was an adapter, or may have been, that did not arrive.
    has_lost_adapter: bool = False


async def end(manager: ConnectorManager, ledger: Ledger, orphan: Living) -> Ended:
    """End one orphan. The intent is in the ledger first; it is settled when the platform's list lacks the rental."""
    assert orphan.job is not None, "only what belongs to a job of ours is ever ended"
    job = ledger.job(orphan.job)
    drained = await _drain(manager, ledger, job, ARTIFACT_TIME) if _holds_results(orphan.rental, job) else Drained()
    return await _end(manager, ledger, job, orphan.rental.id, drained)


async def finish(
    manager: ConnectorManager, ledger: Ledger, job: JobRecord, *, has_adapter: bool, is_empty: bool
) -> list[Ended]:
    """End everything that was rented for a job that is over; nothing while its adapter cannot be saved.

    A failed job loses its checkpoints with its machine, and cannot be resumed any more.
    """
    rentals = await rentals_of(manager, job)
    await _note_cost(manager, ledger, job)
    ended = []
    for rental in rentals:
        holds_results = not is_empty and _holds_results(rental, job)
        drained = await _drain(manager, ledger, job, None, with_adapter=not has_adapter) if holds_results else Drained()
        if drained.has_lost_adapter:
            problem = f"{rental.id} is kept, and costs, until the adapter is fetched"
            ended.append(Ended(rental_id=rental.id, is_gone=False, problems=(*drained.problems, problem)))
            continue
        ended.append(await _end(manager, ledger, job, rental.id, drained))
    if job.status is JobStatus.FAILED and ended:
        ledger.record_lost(job.id, job.reason or "it failed")
    return ended


async def _end(manager: ConnectorManager, ledger: Ledger, job: JobRecord, target: str, drained: Drained) -> Ended:
    problems = list(drained.problems)
    ledger.begin(job.id, "teardown", target=target)
    try:
        is_gone = await _end_and_look(manager, ledger, job, target)
    except PeftStudioError as error:
        is_gone = False
        problems.append(f"{target} may still be there: {error}")
    return Ended(rental_id=target, is_gone=is_gone, saved=drained.saved, problems=tuple(problems))


async def go_on_ending(manager: ConnectorManager, ledger: Ledger, intent: Intent) -> bool:
    """Try a teardown again that was not confirmed. Raises `PeftStudioError`."""
    ledger.record_tried(intent.job_id, "teardown")
    return await _end_and_look(manager, ledger, ledger.job(intent.job_id), str(intent.target))


async def _end_and_look(manager: ConnectorManager, ledger: Ledger, job: JobRecord, target: str) -> bool:
    was_looked_for = await manager.end_rental(job.connector, target)
    try:
        is_gone = target not in {rental.id for rental in await manager.list_rentals(job.connector)}
    except IncompleteList as error:  # the connector knows which part of the list its own look was at
        is_gone = was_looked_for and target not in {rental.id for rental in error.found}
    if is_gone:
        ledger.settle(job.id, "teardown", "gone", target=target)
    return is_gone


async def _note_cost(manager: ConnectorManager, ledger: Ledger, job: JobRecord) -> None:
    """While it can still be told."""
    try:
        cost = await manager.get_job_cost(job.connector, str(job.platform_id))
    except PeftStudioError as error:
        _log.info("what job %s has cost is not known: %s", job.id, error)
        return
    if cost is not None:
        ledger.record_cost(job.id, cost)


def _holds_results(rental: Rental, job: JobRecord) -> bool:
    """True unless it is a second job under the same tag: what the platform calls this job is another one then."""
    return rental.kind != "job" or rental.id == job.platform_id


async def _drain(
    manager: ConnectorManager, ledger: Ledger, job: JobRecord, seconds: float | None, *, with_adapter: bool = True
) -> Drained:
    """Copy the rest of the log, and the adapter unless the user has it. What fails is told and stops nothing."""
    if job.platform_id is None:
        return Drained()
    log = await _try("the log", manager.jobs.drain(job.id), LOG_TIME)
    if job.status is not JobStatus.COMPLETED or not with_adapter or kept_adapter(ledger, job) is not None:
        return log
    adapter = await _try("the adapter", manager.jobs.save(job.id, free_home(job)), seconds)
    return Drained(adapter.saved, (*log.problems, *adapter.problems), has_lost_adapter=bool(adapter.problems))


async def _try(what: str, work: Awaitable[Path | None], seconds: float | None) -> Drained:
    try:
        return Drained(await asyncio.wait_for(work, seconds))
    except ArtifactNotFound:
        return Drained()
    except PeftStudioError as error:
        return Drained(problems=(f"{what} was not saved: {error}",))
    except TimeoutError:
        return Drained(problems=(f"{what} was not saved within {seconds:g} s",))

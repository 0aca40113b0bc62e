"""Where a job is at its platform, also when the answer to its submission was lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peft_studio.errors import JobNotFound, PlatformError, UnsupportedCapability
from peft_studio.ledger import JobRecord, Ledger

if TYPE_CHECKING:
    from peft_studio.manager import ConnectorManager


class UnknownOutcome(PlatformError):
    """The platform's answer to a submission was lost, and it does not know the job by its tag."""


async def locate(manager: ConnectorManager, ledger: Ledger, job: JobRecord) -> str:
    """Connect, and return the platform's id of the job; one whose answer was lost is looked for by its tag.

    Raises `UnknownOutcome`, and `JobNotFound` for a job that was not submitted yet.
    """
    if job.is_queued:
        raise JobNotFound(f"job {job.id} is queued: it was not submitted yet", remedy="peft-studio queue flush")
    if not manager.is_connected(job.connector):
        await manager.connect(job.connector)
    if job.platform_id is not None:
        return job.platform_id
    found = await _find(manager, job)
    if found is None:
        raise UnknownOutcome(f"it is not known whether job {job.id} reached {job.connector}")
    ledger.record_submitted(job.id, found)
    return found


async def _find(manager: ConnectorManager, job: JobRecord) -> str | None:
    """By its tag; a connector that finds no jobs may still list what is alive."""
    try:
        return await manager.find_job(job.connector, job.id)
    except UnsupportedCapability:
        pass
    try:
        rentals = await manager.list_rentals(job.connector)
    except UnsupportedCapability:  # such a connector cannot tell, so nobody knows
        return None
    return next((rental.id for rental in rentals if rental.tag == job.id and rental.kind == "job"), None)

"""What lives on an account for one job."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from peft_studio.errors import IncompleteList, JobNotFound
from peft_studio.ledger import JobRecord
from peft_studio.models import Rental

if TYPE_CHECKING:
    from peft_studio.manager import ConnectorManager

_log = logging.getLogger(__name__)


async def rentals_of(manager: ConnectorManager, job: JobRecord) -> list[Rental]:
    """What was rented for it. Raises `IncompleteList` when its machine may be in the part that could not be listed."""
    try:
        rentals = await manager.list_rentals(job.connector)
    except IncompleteList as error:
        if job.platform_id not in {rental.id for rental in error.found} and not await _is_gone(manager, job):
            raise
        _log.info("what else was rented for job %s is not known: %s", job.id, error)
        rentals = list(error.found)
    return [rental for rental in rentals if job.id == rental.tag or job.platform_id == rental.id]


async def _is_gone(manager: ConnectorManager, job: JobRecord) -> bool:
    """True when the platform, asked for the job itself, does not have it."""
    try:
        await manager.get_job_status(job.connector, str(job.platform_id))
    except JobNotFound:
        return True
    return False

"""What an hour of a job costs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from peft_studio.errors import PeftStudioError
from peft_studio.ledger import JobRecord, Ledger
from peft_studio.models import PricingInfo, Rental
from peft_studio.rentals import rentals_of

if TYPE_CHECKING:
    from peft_studio.manager import ConnectorManager

_log = logging.getLogger(__name__)


async def _price_of(manager: ConnectorManager, job: JobRecord) -> PricingInfo | Rental | None:
    """The price of the machine that was rented for it, or else of its resource; None when it names none."""
    if manager.rents_machines(job.connector):
        return next((each for each in await rentals_of(manager, job) if each.id == job.platform_id), None)
    resource = job.config.get("resource_id")
    return None if resource is None else await manager.get_pricing(job.connector, resource)


async def learn_price(manager: ConnectorManager, ledger: Ledger, job: JobRecord) -> None:
    """Note what an hour costs, once for each job; where nobody can tell it stays unknown."""
    if job.hourly_rate is not None or not job.reachable or job.platform_id is None:
        return
    try:
        price = await _price_of(manager, job)
    except PeftStudioError as error:
        _log.info("the price of job %s is not known: %s", job.id, error)
        return
    if price is not None and price.hourly_rate is not None:
        ledger.record_price(job.id, price.hourly_rate, price.currency)

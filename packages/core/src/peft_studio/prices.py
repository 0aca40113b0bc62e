"""What an hour of a job costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peft_studio.ledger import JobRecord
from peft_studio.models import PricingInfo, Rental

if TYPE_CHECKING:
    from peft_studio.manager import ConnectorManager


async def price_of(manager: ConnectorManager, job: JobRecord) -> PricingInfo | Rental | None:
    """The price of the machine that was rented for it, or else of its resource; None when it names none."""
    if manager.rents_machines(job.connector):
        rentals = await manager.list_rentals(job.connector)
        return next((rental for rental in rentals if rental.id == job.platform_id), None)
    resource = job.config.get("resource_id")
    return None if resource is None else await manager.get_pricing(job.connector, resource)

"""Sends the adapters of completed jobs to the registries that their configs name, through the offline queue.

An upload is queued before it is tried, once for each job and place. So it does not matter who does it: the command that
followed the job, or a later `queue flush`; and a registry that is away costs nothing but time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from attrs import frozen

from peft_studio.errors import PeftStudioError
from peft_studio.homes import free_home, kept_adapter
from peft_studio.ledger import JobRecord, Ledger
from peft_studio.metrics import metrics_of
from peft_studio.model_address import ModelAddress
from peft_studio.models import JobStatus
from peft_studio.queue import NewOperation, Operation, Queue, requests

if TYPE_CHECKING:
    from peft_studio.manager import ConnectorManager

#: After the end of a job. The queue forgets an upload a month after it was done; queued again, it would be repeated.
REMEMBERED: Final = timedelta(days=29)
#: Points of the loss curve that a registry is told.
CURVE: Final = 200

_log = logging.getLogger(__name__)


def destinations_of(job: JobRecord) -> tuple[ModelAddress, ...]:
    """Where the job's adapter is to go."""
    return tuple(map(ModelAddress.parse, job.config.get("push_to") or ()))


@frozen
class Publisher:
    """Queues uploads; whoever drains the queue carries them out."""

    manager: ConnectorManager
    ledger: Ledger
    queue: Queue

    async def publish(self, job_id: str) -> list[Operation]:
        """The uploads of a completed job's adapter, one for each place, which is brought home first.

        Empty for a job that has not completed, or goes nowhere. Raises `PeftStudioError` when the adapter cannot be
        brought home.
        """
        job = self.ledger.job(job_id)
        places = destinations_of(job)
        if job.status is not JobStatus.COMPLETED or not places:
            return []
        known = [self.queue.find(place.connector, _key(job, place)) for place in places]
        found = [operation for operation in known if operation is not None]
        return found if len(found) == len(places) else await self._queue(job, places)

    async def publish_all(self) -> None:
        """The same for every job whose uploads the queue remembers; what fails is logged, and tried again later."""
        for job in self.ledger.jobs():
            if self.ledger.clock() - job.changed > REMEMBERED:
                continue
            try:
                await self.publish(job.id)
            except PeftStudioError as error:
                _log.warning("the adapter of job %s cannot be published yet: %s", job.id, error)

    async def _queue(self, job: JobRecord, places: Sequence[ModelAddress]) -> list[Operation]:
        adapter = await at_home(self.manager, self.ledger, job)
        facts = facts_of(self.ledger, job)

        def upload(place: ModelAddress) -> NewOperation:
            metadata = {**facts, **place.metadata}
            return requests.upload_artifact(place.connector, adapter, metadata, key=_key(job, place))

        return self.queue.enqueue_all([await asyncio.to_thread(upload, place) for place in places])


async def at_home(manager: ConnectorManager, ledger: Ledger, job: JobRecord) -> Path:
    """The adapter of a completed job on this machine; it is fetched where it is not here yet."""
    kept = await asyncio.to_thread(kept_adapter, ledger, job)
    return kept if kept is not None else await manager.jobs.pull(job.id, free_home(job))


def facts_of(ledger: Ledger, job: JobRecord) -> dict[str, Any]:
    """What the adapter's own files may not tell: the data set by its name, and how the loss went."""
    steps = [[row["step"], row["loss"]] for row in metrics_of(ledger.events(job.id)) if row["type"] == "step"]
    name = job.config.get("dataset_name") or Path(str(job.config.get("dataset_path", ""))).name
    facts = {"dataset": name, "loss_curve": _thinned(steps)}
    return {name: value for name, value in facts.items() if value}


def _thinned(points: list[Any]) -> list[Any]:
    """At most `CURVE` of them, evenly, the first and the last among them."""
    if len(points) <= CURVE:
        return points
    return [points[round(index * (len(points) - 1) / (CURVE - 1))] for index in range(CURVE)]


def _key(job: JobRecord, place: ModelAddress) -> str:
    return f"push:{job.id}:{place.model_id}"

"""Carries out what the feeder has queued: folds the events again, which gives the same batch, and sends it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from peft_studio.ledger import Ledger
from peft_studio.models import JobEvent
from peft_studio.queue import requests
from peft_studio.tracking.fold import Place, fold

if TYPE_CHECKING:
    from peft_studio.queue.kinds import Attempt


async def log_events(attempt: Attempt, run_id: str) -> Any:
    """The place after the events. Stop, pressed at the tracker, is queued as a cancellation of the job."""
    job_id, before, after = (attempt.payload[name] for name in ("run", "before", "after"))
    batch, _ = fold(_events(attempt.ledger, job_id, before["through"], after["through"]), Place.from_dict(before))
    is_doubtful = attempt.operation.is_doubtful
    is_stop_requested = await attempt.manager.log_batch(attempt.connector, run_id, batch, is_doubtful=is_doubtful)
    job = attempt.ledger.job(job_id)
    if is_stop_requested and not job.status.is_terminal:
        attempt.queue.enqueue(requests.cancel_job(job.connector, job.id))
    return after


def _events(ledger: Ledger, job_id: str, after: int, through: int) -> Iterator[JobEvent]:
    for event in ledger.events(job_id, after):
        if event.sequence > through:
            return
        yield event

"""A queued submission: made once, however often it is begun, and not before the user agrees to what has changed.

The ledger decides. While its record of the job says *queued*, no platform was called for it; the intent takes it out of
that state in one transaction, before the call. So an intent without an answer means that the job may exist, and then it
is looked for by its tag.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from peft_studio.errors import UnsupportedCapability
from peft_studio.ledger import JobRecord, Ledger
from peft_studio.ledger.store import DENIED
from peft_studio.models import JobStatus, PricingInfo
from peft_studio.queue.limits import Limits, price_of
from peft_studio.queue.operation import Again, Dead, Operation, Outcome, State
from peft_studio.training_config import TrainingConfig

if TYPE_CHECKING:
    from peft_studio.queue.kinds import Attempt

#: Seconds after an attempt before a platform's "I know no such job" is believed.
SETTLING = 60.0


class Unfinished(Exception):
    """An attempt that ends neither well nor with an error: it carries its outcome."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome)
        self.outcome = outcome


async def submit_job(attempt: Attempt) -> Any:
    """The platform's id of the job."""
    tag = attempt.payload["tag"]
    config = TrainingConfig.from_dict({**attempt.payload["config"], "provider": attempt.connector})
    attempt.ledger.record_queued(tag, attempt.connector, config)
    job = attempt.ledger.job(tag)
    if job.platform_id is not None:
        return (await attempt.manager.jobs.feed(job.id)).platform_id
    if job.status is JobStatus.FAILED and job.reason == DENIED and attempt.ledger.record_requeued(tag):
        job = attempt.ledger.job(tag)
    if job.status.is_terminal:
        raise Unfinished(Dead(job.reason or f"job {tag} is {job.status}"))
    if not job.is_queued:
        found = await _look_for(attempt, job)
        if found is not None:
            return (await attempt.manager.jobs.feed(job.id)).platform_id
    await _ask_where_it_matters(attempt, config)
    await attempt.manager.submit_job(attempt.connector, config, tag=tag, feed=False)
    return (await attempt.manager.jobs.feed(tag)).platform_id


async def _look_for(attempt: Attempt, job: JobRecord) -> str | None:
    """Its platform id if an earlier attempt arrived; None once it is certain enough that none did."""
    try:
        found = await attempt.manager.find_job(attempt.connector, job.id)
    except UnsupportedCapability as error:
        reason = f"it is not known whether job {job.id} reached {attempt.connector}, which cannot look for it"
        raise Unfinished(Dead(reason)) from error
    if found is not None:
        attempt.ledger.record_submitted(job.id, found)
        return found
    written = [intent.written for intent in attempt.ledger.open_intents("submit") if intent.job_id == job.id]
    age = (datetime.fromtimestamp(attempt.queue.clock(), UTC) - max(written, default=job.created)).total_seconds()
    if age < SETTLING:
        reason = f"its last attempt was {age:.0f} s ago, and {attempt.connector} may not know of it yet"
        raise Unfinished(Again(reason, delay=SETTLING - age))
    if not attempt.ledger.record_requeued(job.id):
        raise Unfinished(Again(f"job {job.id} is being changed by another program"))
    return None


async def _ask_where_it_matters(attempt: Attempt, config: TrainingConfig) -> None:
    payload, now = attempt.payload, attempt.queue.clock()
    if payload.get("accepted") == "any":
        return
    limits = Limits.from_dict(payload["limits"]) if "limits" in payload else Limits.from_settings()
    since = payload.get("accepted") or attempt.operation.created.timestamp()
    price = price_of(await price_now(attempt.manager, attempt.connector, config))
    question = limits.question(payload, price, now - since, now)
    if question is not None:
        raise Unfinished(question)


async def price_now(manager: Any, connector: str, config: TrainingConfig) -> PricingInfo | None:
    """The price of the config's resource; None when it names none, or the connector tells no prices."""
    if config.resource_id is None:
        return None
    try:
        price: PricingInfo = await manager.get_pricing(connector, config.resource_id)
    except UnsupportedCapability:
        return None
    return price


def bury_submission(ledger: Ledger, operation: Operation) -> None:
    """A job whose submission was given up, or is dropped, is not pending any more. One that may exist is left alone."""
    tag = operation.payload["tag"]
    if operation.state is State.DEAD:
        ledger.record_withdrawn(tag, JobStatus.FAILED, f"it was not submitted: {operation.reason}")
    else:
        ledger.record_withdrawn(tag, JobStatus.CANCELLED, "dropped from the queue before it was submitted")


def revive_submission(ledger: Ledger, operation: Operation) -> None:
    """A job that was refused, or given up, waits again. One of which nobody knows whether it exists does not."""
    tag = operation.payload["tag"]
    if ledger.job(tag).status is JobStatus.FAILED:
        ledger.record_requeued(tag)

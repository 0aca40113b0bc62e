"""What the ledger answers: jobs, intents and notes as they were last known."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from attrs import frozen

from peft_studio.models import JobStatus

#: Reason of a pending job that waits in the offline queue: no platform has been asked for it.
QUEUED = "queued"

SELECT_JOBS = """
SELECT id, connector, platform_id, status, reason, resumable, unreachable_since, created, base_model, cost, config,
    changed, hourly_rate, currency, ran, running_since,
    (SELECT min(written) FROM intents WHERE job_id = jobs.id AND action = 'cancel' AND outcome IS NULL)
FROM jobs
"""
SELECT_INTENTS = "SELECT job_id, action, written, outcome, target, reason, tried FROM intents "


@frozen(kw_only=True)
class JobRecord:
    """What is known of a job without asking anybody."""

    id: str
    connector: str
    platform_id: str | None
    status: JobStatus
    reason: str | None
    is_resumable: bool
    #: Since when the platform could not be asked; None while it answers.
    unreachable_since: datetime | None
    created: datetime
    base_model: str
    #: US dollars so far, as the platform or its worker counts them.
    cost: Decimal | None
    config: dict[str, Any]
    #: Since when it has this status.
    changed: datetime
    #: What an hour costs, in `currency`; None while nobody has told.
    hourly_rate: Decimal | None = None
    #: ISO 4217.
    currency: str | None = None
    #: Seconds that it ran before `running_since`.
    ran: float = 0.0
    running_since: datetime | None = None
    #: Since when it is to be stopped for good, which the platform has not confirmed yet.
    cancelling_since: datetime | None = None

    @property
    def reachable(self) -> bool | None:
        """Whether the platform answered the last time; None for a job that need not be asked any more."""
        return None if self.status.is_terminal or self.is_queued else self.unreachable_since is None

    @property
    def is_queued(self) -> bool:
        """True while the submission waits in the offline queue."""
        return self.status is JobStatus.PENDING and self.reason == QUEUED


@frozen(kw_only=True)
class Intent:
    """Something that was about to be done on a platform."""

    job_id: str
    #: submit, cancel or teardown.
    action: str
    written: datetime
    #: What the platform answered; None while nobody knows.
    outcome: str | None
    #: The rental that is to end, for a teardown.
    target: str | None = None
    #: Why it is done, where nobody asked for it by hand.
    reason: str | None = None
    #: When it was tried last, after the first time.
    tried: datetime | None = None


@frozen(kw_only=True)
class Note:
    """News of a job that could not be true, in the words in which it came."""

    written: datetime
    text: str


def job_record(row: tuple[Any, ...]) -> JobRecord:
    """A row of `SELECT_JOBS`."""
    job_id, connector, platform_id, status, reason, resumable, unreachable, created, base_model, cost, config = row[:11]
    changed, hourly_rate, currency, ran, running_since, cancelling_since = row[11:]
    return JobRecord(
        id=job_id,
        connector=connector,
        platform_id=platform_id,
        status=JobStatus(status),
        reason=reason,
        is_resumable=bool(resumable),
        unreachable_since=time_or_none(unreachable),
        created=to_time(created),
        base_model=base_model,
        cost=_money(cost),
        config=json.loads(config),
        changed=to_time(changed),
        hourly_rate=_money(hourly_rate),
        currency=currency,
        ran=ran,
        running_since=time_or_none(running_since),
        cancelling_since=time_or_none(cancelling_since),
    )


def intent(row: tuple[Any, ...]) -> Intent:
    """A row of `SELECT_INTENTS`."""
    job_id, action, written, outcome, target, reason, tried = row
    return Intent(
        job_id=job_id,
        action=action,
        written=to_time(written),
        outcome=outcome,
        target=target,
        reason=reason,
        tried=time_or_none(tried),
    )


def to_stamp(time: datetime) -> str:
    """A time as the ledger writes it; stamps sort as their times do."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def to_time(stamp: str) -> datetime:
    """What `to_stamp` wrote."""
    return datetime.fromisoformat(stamp)


def time_or_none(stamp: str | None) -> datetime | None:
    """As `to_time`, of what may be unknown."""
    return None if stamp is None else to_time(stamp)


def _money(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)

"""How long a job may be on its way from one state to the next, and what is done when it takes longer.

Nothing waits for ever: every phase that is not an end has a deadline with a next action, and a second one after which
only the user can tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from attrs import frozen

from peft_studio.ledger.records import Intent, JobRecord
from peft_studio.models import JobStatus


class Phase(StrEnum):
    """A state in which something is expected to happen."""

    SUBMITTING = "submitting"
    PENDING = "pending"
    PAUSING = "pausing"
    CANCELLING = "cancelling"
    TEARING_DOWN = "tearing down"


class NextAction(StrEnum):
    """What is to be done about a phase that is overdue."""

    FIND = "look for the tag"
    ASK = "ask the platform"
    RETRY = "try again"
    TELL = "tell the user"


#: When a phase is overdue, and what is done then.
DEADLINES: Final = {
    Phase.SUBMITTING: (timedelta(minutes=2), NextAction.FIND),
    Phase.PENDING: (timedelta(minutes=30), NextAction.ASK),
    Phase.PAUSING: (timedelta(minutes=3), NextAction.RETRY),
    Phase.CANCELLING: (timedelta(seconds=30), NextAction.RETRY),
    Phase.TEARING_DOWN: (timedelta(seconds=30), NextAction.RETRY),
}

#: After so long the actions above have not helped.
LAST_DEADLINE: Final = timedelta(hours=24)

_PHASES: Final = {
    "submit": Phase.SUBMITTING,
    "pause": Phase.PAUSING,
    "cancel": Phase.CANCELLING,
    "teardown": Phase.TEARING_DOWN,
}


@frozen(kw_only=True)
class Overdue:
    """A phase of a job that has taken longer than it may."""

    job: JobRecord
    phase: Phase
    since: datetime
    action: NextAction


def deadline(phase: Phase, since: datetime) -> datetime:
    """When a phase that began at `since` is overdue."""
    return since + DEADLINES[phase][0]


def overdue(jobs: Iterable[JobRecord], intents: Iterable[Intent], now: datetime) -> Iterator[Overdue]:
    """Every phase of `jobs` that is overdue, with what to do; `intents` are the open ones."""
    by_id = {job.id: job for job in jobs}
    open_phases = [(by_id[intent.job_id], _PHASES[intent.action], intent.written) for intent in intents]
    waiting = [(job, Phase.PENDING, job.changed) for job in by_id.values() if _waits_at_platform(job)]
    for job, phase, since in [*open_phases, *waiting]:
        if now >= deadline(phase, since):
            action = NextAction.TELL if now - since >= LAST_DEADLINE else DEADLINES[phase][1]
            yield Overdue(job=job, phase=phase, since=since, action=action)


def _waits_at_platform(job: JobRecord) -> bool:
    return job.status is JobStatus.PENDING and job.platform_id is not None

"""What reconciling one account found: plain values, and the decision what each thing that lives there is to us."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from pathlib import Path

from attrs import field, frozen

from peft_studio.errors import PeftStudioError
from peft_studio.ledger import JobRecord
from peft_studio.models import Rental


class Standing(StrEnum):
    """What something that is alive is to us."""

    #: It belongs to a job of this ledger that goes on.
    RUNNING = "running"
    #: It belongs to a job of this ledger that is over, or is a second one of the same submission.
    ORPHANED = "orphaned"
    #: This ledger does not know it. It is never touched, whatever its name.
    FOREIGN = "foreign"


@frozen(kw_only=True)
class Living:
    """Something that is alive on the account."""

    rental: Rental
    #: Id of the job that it belongs to.
    job: str | None
    standing: Standing

    @property
    def daily_cost(self) -> Decimal | None:
        """What it costs in 24 hours, in its currency; None when the platform does not say."""
        return None if self.rental.hourly_rate is None else self.rental.hourly_rate * 24


@frozen(kw_only=True)
class Ended:
    """What came of ending something."""

    rental_id: str
    #: True when the platform's own list does not have it any more.
    is_gone: bool
    #: Where its adapter was saved, when there was one that nobody had.
    saved: Path | None = None
    #: What went wrong on the way, each in a sentence.
    problems: tuple[str, ...] = ()


@frozen(kw_only=True)
class Account:
    """One connector's account after it was reconciled."""

    connector: str
    #: None when the connector cannot list what is alive; a part of it when `error` is an `IncompleteList`.
    living: tuple[Living, ...] | None = None
    #: Submissions without an answer that the platform has.
    adopted: tuple[str, ...] = ()
    #: Submissions without an answer that the platform does not have.
    denied: tuple[str, ...] = ()
    #: Jobs that are over by a cancellation that had been open.
    stopped: tuple[str, ...] = ()
    ended: tuple[Ended, ...] = ()
    #: What nobody but the user can settle, each in a sentence.
    messages: tuple[str, ...] = ()
    #: Why the platform, or a part of it, could not be asked.
    error: PeftStudioError | None = field(default=None, eq=False)

    @property
    def daily_costs(self) -> Mapping[str, Decimal]:
        """What everything that is alive costs in 24 hours, by currency; without what has no price."""
        costs: dict[str, Decimal] = {}
        for each in self.living or ():
            if each.daily_cost is not None:
                costs[each.rental.currency] = costs.get(each.rental.currency, Decimal(0)) + each.daily_cost
        return costs

    @property
    def orphans(self) -> tuple[Living, ...]:
        """What is ours and serves no job."""
        return tuple(each for each in self.living or () if each.standing is Standing.ORPHANED)


def living(rentals: Iterable[Rental], jobs: Iterable[JobRecord]) -> list[Living]:
    """Each rental with the job that it belongs to; `jobs` are those of the same connector."""
    by_tag = {job.id: job for job in jobs}
    by_platform_id = {job.platform_id: job for job in by_tag.values() if job.platform_id is not None}
    found = []
    for rental in rentals:
        job = by_tag.get(rental.tag or "") or by_platform_id.get(rental.id)
        standing = Standing.FOREIGN if job is None else _standing(rental, job)
        found.append(Living(rental=rental, job=None if job is None else job.id, standing=standing))
    return found


def _standing(rental: Rental, job: JobRecord) -> Standing:
    is_twin = rental.kind == "job" and job.platform_id not in (None, rental.id)
    return Standing.ORPHANED if job.status.is_terminal or is_twin else Standing.RUNNING

"""The values that cross the connector interface. All are frozen; None means "unknown", never 0."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any

from attrs import field, frozen
from attrs.validators import in_

#: What can be rented.
RENTAL_KINDS = ("job", "machine", "storage", "deployment")


class JobStatus(StrEnum):
    """What is known of a job. A platform that cannot be asked is not a status: it raises `ConnectionFailed`."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """True when the job will not change by itself any more."""
        return self in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)


@frozen(kw_only=True)
class Resource:
    """A machine or hardware flavour that a job can run on."""

    id: str
    name: str
    gpu_type: str | None = None
    gpu_count: int = 0
    #: Memory of one GPU, GiB.
    vram_gb: float | None = None
    cpu_cores: int | None = None
    #: Main memory, GiB.
    ram_gb: float | None = None
    #: None when the platform does not say.
    available: bool | None = None
    region: str | None = None


def _exact_decimal(value: Decimal | float | str | None) -> Decimal | None:
    return value if value is None or isinstance(value, Decimal) else Decimal(str(value))


@frozen(kw_only=True)
class PricingInfo:
    """What a resource costs."""

    resource_id: str | None = None
    #: Price of one hour, in `currency`.
    hourly_rate: Decimal | None = field(default=None, converter=_exact_decimal)
    #: ISO 4217.
    currency: str = "USD"
    #: Smallest time that is billed, seconds.
    billing_increment: int | None = None
    #: Price of one GiB of storage for one hour, in `currency`.
    storage_gb_hourly_rate: Decimal | None = field(default=None, converter=_exact_decimal)
    #: When the price was read, UTC.
    as_of: datetime | None = None
    #: Where it comes from: a platform's endpoint, or a setting of the user.
    source: str | None = None


def _tuple_of_texts(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(values)


@frozen(kw_only=True)
class ModelInfo:
    """A model or adapter in a registry."""

    id: str
    name: str
    base_model: str | None = None
    author: str | None = None
    license: str | None = None
    description: str | None = None
    downloads: int | None = None
    #: Total size of the files, bytes.
    size_bytes: int | None = None
    created: datetime | None = None
    url: str | None = None
    tags: tuple[str, ...] = field(default=(), converter=_tuple_of_texts)


@frozen(kw_only=True)
class Deployment:
    """An endpoint that serves a model."""

    id: str
    status: str
    url: str | None = None
    model_id: str | None = None


def _utc_time(created: datetime | None) -> datetime | None:
    return created if created is None or created.tzinfo is not None else created.replace(tzinfo=UTC)


@frozen(kw_only=True)
class Rental:
    """Something on the account that is alive, and that costs or could: a job, a machine, storage, a deployment."""

    #: The platform's id; that of the job where `kind` is job.
    id: str
    name: str
    #: `config.tag` of the submission that it was made for; None for what nobody tagged.
    tag: str | None = None
    #: job, machine, storage or deployment.
    kind: str = field(validator=in_(RENTAL_KINDS))
    #: The platform's word.
    status: str
    #: Price of one hour, in `currency`; None when the platform does not say.
    hourly_rate: Decimal | None = field(default=None, converter=_exact_decimal)
    #: ISO 4217.
    currency: str = "USD"
    #: When it came to be; a time without a zone is UTC.
    created: datetime | None = field(default=None, converter=_utc_time)
    #: What kind of resource it is, as in `list_resources`.
    resource_id: str | None = None


@frozen(kw_only=True)
class JobEvent:
    """One line of a job's append-only event log.

    `sequence` starts at 1 and rises by one; a reader resumes after the last one it has. `type` is one of
    state, phase, log, start, step, eval, checkpoint, artifact, error; docs/reference/events.md has the fields of
    `data`.
    """

    sequence: int
    time: datetime
    type: str
    data: Mapping[str, Any]


@frozen(kw_only=True)
class Run:
    """A run at a tracker."""

    #: What every call about the run takes.
    id: str
    #: What people call it.
    name: str
    project: str | None = None
    #: None when the tracker has another word for it.
    status: JobStatus | None = None
    #: When it began; a time without a zone is UTC.
    created: datetime | None = field(default=None, converter=_utc_time)
    #: From its beginning to its end, or to what was heard of it last, seconds.
    duration: float | None = None
    #: Its page.
    url: str | None = None
    #: What it was started with; a list may leave it out.
    config: Mapping[str, Any] | None = None
    #: The last value of each metric, and what else the run says of itself; a list may leave it out.
    summary: Mapping[str, Any] | None = None
    tags: tuple[str, ...] = field(default=(), converter=_tuple_of_texts)


@frozen(kw_only=True)
class RunRow:
    """What was measured at one step of a run."""

    step: int
    time: datetime
    metrics: Mapping[str, float]


@frozen(kw_only=True)
class RunLine:
    """One line of a run's console."""

    time: datetime
    text: str
    is_error: bool = False


@frozen(kw_only=True)
class RunBatch:
    """A piece of a run, with its place in it: the same batch again must change nothing at the tracker."""

    rows: tuple[RunRow, ...] = ()
    #: How many rows of the run stand before these.
    first_row: int = 0
    lines: tuple[RunLine, ...] = ()
    #: How many lines of the run stand before these.
    first_line: int = 0
    #: The last value of every metric of the run so far.
    summary: Mapping[str, float] = field(factory=dict)
    #: How the job stands after it, where it has stopped.
    status: JobStatus | None = None


@frozen(kw_only=True)
class RateLimit:
    """How much a platform still lets us ask, in its own words; of several limits the one that is nearest to its end."""

    #: Requests that are left.
    remaining: int
    #: Requests in the whole window.
    limit: int | None = None
    #: When the window ends, by our clock.
    resets: datetime | None = None


@frozen(kw_only=True)
class Observed:
    """What a platform's answers have said of themselves lately, whatever was asked."""

    #: When the last answer came, UTC.
    at: datetime
    #: Seconds that the platform's clock is ahead of ours; 0 when no difference can be told.
    clock_skew: float | None = None
    rate_limit: RateLimit | None = None
    #: The platform's number of the last request.
    request_id: str | None = None


@frozen(kw_only=True)
class Problem:
    """One fault in something that was given to us: what is wrong, where, and what may have been meant."""

    message: str
    field: str | None = None
    file: Path | None = None
    #: Line in `file`, from 1.
    line: int | None = None
    suggestion: str | None = None

    def __str__(self) -> str:
        place = "" if self.file is None else f"{self.file}: "
        if self.line is not None:
            place += f"line {self.line}: "
        hint = "" if self.suggestion is None else f" (did you mean {self.suggestion!r}?)"
        return f"{place}{self.message}{hint}"

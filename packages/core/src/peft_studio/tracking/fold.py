"""From a job's events to what a tracker records: which rows and lines, and how many stood before them.

Everything follows from the event log and the place in it, so that whoever folds the same events gets the same batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, Self

from attrs import asdict, define, evolve, field, frozen

from peft_studio.models import JobEvent, JobStatus, RunBatch, RunLine, RunRow

#: Fields of events that are metrics, and what trackers call them.
_STEP: Final = {
    "loss": "train/loss", "learning_rate": "train/learning_rate", "grad_norm": "train/grad_norm",
    "epoch": "train/epoch", "tokens": "train/tokens", "tokens_per_second": "train/tokens_per_second",
}  # fmt: skip
_EVAL: Final = {"loss": "eval/loss"}


@frozen(kw_only=True)
class Place:
    """How far a job's log has been told, and what that came to."""

    #: Sequence number of the last event.
    through: int = 0
    rows: int = 0
    lines: int = 0
    #: A step that is trained again after a resume is told once.
    last_step: int | None = None
    summary: Mapping[str, float] = field(factory=dict)
    #: How the job stood when it stopped the last time.
    status: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the queue."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What `to_dict` wrote."""
        return cls(**values)


@define
class _Fold:
    """A batch in the making."""

    before: Place
    rows: dict[int, RunRow] = field(factory=dict)
    lines: list[RunLine] = field(factory=list)
    summary: dict[str, float] = field(factory=dict)
    status: JobStatus | None = None

    def add(self, event: JobEvent) -> None:
        """Take up one event."""
        match event.type:
            case "step":
                self._measure(event, _STEP)
            case "eval":
                self._measure(event, _EVAL)
            case "log" | "error":
                is_error = event.type == "error" or event.data.get("level") == "error"
                text = str(event.data.get("message") or "").encode(errors="replace").decode()  # no half of a pair
                self.lines += [RunLine(time=event.time, text=line, is_error=is_error) for line in text.splitlines()]
            case "state" if event.data.get("status") in list(JobStatus):  # the ledger notes any other
                status = JobStatus(event.data["status"])
                has_stopped = status.is_terminal or status is JobStatus.PAUSED
                self.status = status if has_stopped else None

    def _measure(self, event: JobEvent, names: Mapping[str, str]) -> None:
        """Put what is a number into the row of its step; what was measured there before stays as it was."""
        step, last = _step_of(event), self.before.last_step
        if step is None or (last is not None and step <= last):
            return
        known = self.rows.get(step, RunRow(step=step, time=event.time, metrics={}))
        fresh = {name: event.data[key] for key, name in names.items() if _is_number(event.data.get(key))}
        fresh = {name: value for name, value in fresh.items() if name not in known.metrics}
        if fresh:
            self.rows[step] = evolve(known, metrics={**known.metrics, **fresh})
            self.summary |= fresh


def _step_of(event: JobEvent) -> int | None:
    step = event.data.get("step")
    return int(step) if isinstance(step, int) or (isinstance(step, float) and step.is_integer()) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def fold(events: Iterable[JobEvent], before: Place) -> tuple[RunBatch, Place]:
    """What these events, which follow on `before`, tell a tracker, and the place after them."""
    folding = _Fold(before, summary=dict(before.summary))
    through = before.through
    for event in events:
        folding.add(event)
        through = event.sequence
    rows = tuple(folding.rows[step] for step in sorted(folding.rows))
    batch = RunBatch(
        rows=rows, first_row=before.rows, lines=tuple(folding.lines), first_line=before.lines,
        summary=folding.summary, status=folding.status,
    )  # fmt: skip
    after = Place(
        through=through, rows=before.rows + len(batch.rows), lines=before.lines + len(batch.lines),
        last_step=max(folding.rows, default=before.last_step), summary=folding.summary,
        status=None if folding.status is None else str(folding.status),
    )  # fmt: skip
    return batch, after

"""The platform's clock as the dates that it writes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from peft_studio_testkit.sandbox.clock import Clock


class Timeline:
    """Dates of a clock whose start is the moment of the last reset: clients may compare them with their own."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.reset()

    def reset(self) -> None:
        """The clock starts now."""
        self.start = datetime.now(UTC).replace(microsecond=0)

    def date(self, seconds: float) -> datetime:
        """The date of a moment of the clock."""
        return self.start + timedelta(seconds=seconds)

    def text(self, seconds: float) -> str:
        """The date as the platform writes it, in whole seconds."""
        return self.date(seconds).strftime("%Y-%m-%dT%H:%M:%SZ")

    def seconds(self, date: datetime) -> float:
        """Where a date lies on the clock."""
        return (date - self.start).total_seconds()

"""What a job has cost and how long it ran, and whether that is more than its config allows.

The worker stops a job that is at its limits, with a checkpoint. The client looks after that too, a little later, for
machines whose worker does not, or cannot any more. What is not known is never taken for too much.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final

from attrs import frozen

from peft_studio.ledger import JobRecord
from peft_studio.lines import short_duration

#: Seconds that the worker has for stopping by itself.
MARGIN: Final = 60.0
_HOUR: Final = Decimal(3600)


@frozen
class Budget:
    """The limits of one job and what it has used, at `now`."""

    job: JobRecord
    now: datetime

    @staticmethod
    def is_set(job: JobRecord) -> bool:
        """True when the job's config limits what it may use."""
        return any(job.config.get(name) is not None for name in ("max_cost", "max_duration"))

    @property
    def seconds(self) -> float:
        """How long the job has run, without its pauses."""
        since = self.job.running_since
        return self.job.ran + (0.0 if since is None else max(0.0, (self.now - since).total_seconds()))

    @property
    def cost(self) -> Decimal | None:
        """US dollars so far: what the platform or its worker counted, else running time times price."""
        if self.job.cost is not None and self.job.running_since is None:
            return self.job.cost
        estimate = self._estimate(self.seconds)
        return self.job.cost if estimate is None else max(estimate, self.job.cost or estimate)

    def excess(self) -> str | None:
        """Why the job must be stopped; None while it is within its limits."""
        left = self.seconds_left()
        if left is None or left > 0:
            return None
        if self._duration is not None and self.seconds >= self._duration + MARGIN:
            return f"it ran for {short_duration(self.seconds)}; max_duration is {short_duration(self._duration)}"
        return f"it has cost ${self.cost:.2f}; max_cost is ${self._max_cost:.2f}"

    def seconds_left(self) -> float | None:
        """Until the client stops the job, if it goes on running; None when nothing limits it that is known."""
        moments = [] if self._duration is None else [self._duration + MARGIN]
        hour = self._estimate(3600.0)
        if self._max_cost is not None and hour:
            moments.append(float(self._max_cost / hour * _HOUR) + MARGIN)
        return min(moments) - self.seconds if moments else None

    @property
    def _duration(self) -> float | None:
        limit = self.job.config.get("max_duration")
        return None if limit is None else float(limit)

    @property
    def _max_cost(self) -> Decimal | None:
        limit = self.job.config.get("max_cost")
        return None if limit is None else Decimal(str(limit))

    def _estimate(self, seconds: float) -> Decimal | None:
        """What that much running costs; None where the price is not known in US dollars."""
        if self.job.hourly_rate is None or self.job.currency != "USD":
            return None
        return self.job.hourly_rate * Decimal(str(seconds)) / _HOUR

"""When a rented machine must stop working, and when it must end: decided from what is seen, at a given time.

The client may be gone for ever, so the machine decides for itself: near its limit of time or money the job is paused,
while there is time for a checkpoint, and a machine that works for nobody any more ends. Nothing here looks at a clock.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from attrs import frozen

#: Share of the machine's life, and most seconds of it, that are kept for the checkpoint and the artifact's way home.
RESERVE_SHARE: Final = 0.1
RESERVE: Final = 600.0
#: How often a push is tried. The pause after the first failure is `retry` seconds, and each is twice the one before.
PUSH_ATTEMPTS: Final = 6
#: Seconds that a push may take, and that the one which is tried first at the very end gets all the same.
PUSH_PATIENCE: Final = 1800.0
LAST_PUSH: Final = 120.0


@frozen
class Limits:
    """How long the machine may live: `began` and results are seconds since the epoch."""

    began: float
    #: Seconds.
    deadline: float | None
    #: US dollars, and US dollars an hour.
    max_cost: Decimal | None
    hourly_rate: Decimal | None

    @property
    def ends_by(self) -> float | None:
        """When the machine must be gone."""
        lifetime = self._lifetime
        return None if lifetime is None else self.began + lifetime

    @property
    def pause_by(self) -> float | None:
        """When the job must stop, so that there is time to write a checkpoint and to collect the artifact."""
        lifetime = self._lifetime
        return None if lifetime is None else self.began + lifetime - min(RESERVE, lifetime * RESERVE_SHARE)

    @property
    def reason(self) -> str:
        """Which limit comes first."""
        if self._paid_seconds is not None and self._paid_seconds == self._lifetime:
            return f"the machine's maximum cost of {self.max_cost} USD"
        return f"the machine's deadline of {self.deadline:g} s"

    def cost(self, now: float) -> Decimal | None:
        """What the machine has cost, US dollars."""
        if self.hourly_rate is None:
            return None
        return (self.hourly_rate * Decimal(max(0.0, now - self.began)) / 3600).quantize(Decimal("0.0001"))

    @property
    def _paid_seconds(self) -> float | None:
        if self.max_cost is None or not self.hourly_rate:
            return None
        return float(self.max_cost / self.hourly_rate * 3600)

    @property
    def _lifetime(self) -> float | None:
        return min((each for each in (self.deadline, self._paid_seconds) if each is not None), default=None)


@frozen(kw_only=True)
class Seen:
    """The machine at one moment; times are seconds since the epoch."""

    now: float
    #: When the worker was started, the last byte of an input came, and the last request of the client ended.
    started: float
    last_input: float
    last_request: float
    is_alive: bool
    #: When the job stopped; None while it has not.
    stopped: float | None
    has_artifact: bool
    is_pushed: bool
    #: How often a push has failed, and when it did last.
    failed_pushes: int
    push_failed: float | None
    acknowledged: str | None


@frozen
class Pause:
    """Stop the job with a checkpoint."""

    reason: str


@frozen
class PushArtifact:
    """Bring the artifact to the registry, as nobody collects it."""

    reason: str
    #: Seconds that it may take.
    patience: float = PUSH_PATIENCE


@frozen
class TearDown:
    """End the machine."""

    reason: str


Decision = Pause | PushArtifact | TearDown


@frozen
class Watchdog:
    """The rules. `wait`, `keep` and `retry` are seconds."""

    wait: float
    keep: float
    retry: float
    can_push: bool

    def decide(self, limits: Limits, seen: Seen) -> Decision | None:
        """What must be done now, if anything."""
        if seen.acknowledged is not None and not seen.is_alive:
            gone = seen.acknowledged == "abandoned"
            return TearDown("the client gave the job up" if gone else "the client has the artifact")
        if limits.ends_by is not None and seen.now >= limits.ends_by:
            reason = f"{limits.reason} is reached"
            is_untried = self._must_push(seen) and not seen.failed_pushes
            return PushArtifact(reason, LAST_PUSH) if is_untried else TearDown(reason)
        if limits.pause_by is not None and seen.now >= limits.pause_by:
            return self._near_the_limit(limits, seen, f"{limits.reason} is near")
        return self._nobody_there(limits, seen)

    def pause(self, failed_pushes: int) -> float | None:
        """Seconds until a push is tried again after so many failures; None when it is not."""
        return self.retry * 2 ** (failed_pushes - 1) if failed_pushes < PUSH_ATTEMPTS else None

    def _near_the_limit(self, limits: Limits, seen: Seen, reason: str) -> Decision | None:
        if seen.is_alive:
            return Pause(reason)
        if self._must_push(seen) and self._is_due(seen):
            return PushArtifact(reason, self._patience(limits, seen))
        return self._nobody_there(limits, seen)

    def _nobody_there(self, limits: Limits, seen: Seen) -> Decision | None:
        if seen.is_alive:
            return None
        if seen.stopped is None:
            is_late = seen.now - max(seen.started, seen.last_input) >= self.wait
            return TearDown(f"no job came within {self.wait:g} s") if is_late else None
        if seen.now - max(seen.started, seen.stopped, seen.last_request) < self.keep:
            return None
        reason = f"the job has stopped, and no client has come for {self.keep:g} s"
        if not self._must_push(seen):
            return TearDown(reason)
        return PushArtifact(reason, self._patience(limits, seen)) if self._is_due(seen) else None

    def _must_push(self, seen: Seen) -> bool:
        is_wanted = self.can_push and seen.has_artifact and not seen.is_pushed
        return is_wanted and seen.failed_pushes < PUSH_ATTEMPTS

    def _is_due(self, seen: Seen) -> bool:
        pause = self.pause(seen.failed_pushes) if seen.failed_pushes else None
        return pause is None or seen.push_failed is None or seen.now >= seen.push_failed + pause

    def _patience(self, limits: Limits, seen: Seen) -> float:
        """No push outlives the machine's limit by more than the last one may."""
        left = PUSH_PATIENCE if limits.ends_by is None else limits.ends_by - seen.now
        return min(PUSH_PATIENCE, max(left, LAST_PUSH))

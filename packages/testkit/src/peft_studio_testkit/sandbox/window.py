"""One window of a rate limit, on the platform's clock. How it is told differs from platform to platform."""

from __future__ import annotations

import math

from attrs import define, field

from peft_studio_testkit.sandbox.clock import Clock


@define
class Window:
    """So many requests in so many seconds; the next one begins with the first request after it."""

    clock: Clock
    quota: int
    seconds: float
    _began: float = field(default=-math.inf, init=False)
    _used: int = field(default=0, init=False)

    @property
    def remaining(self) -> int:
        """How many are left."""
        return max(0, self.quota - self._used)

    @property
    def resets(self) -> int:
        """Seconds to its end."""
        return max(0, math.ceil(self._began + self.seconds - self.clock.now()))

    def take(self) -> bool:
        """Count one request; False when it is one too many."""
        now = self.clock.now()
        if now >= self._began + self.seconds:
            self._began, self._used = now, 0
        self._used += 1
        return self._used <= self.quota

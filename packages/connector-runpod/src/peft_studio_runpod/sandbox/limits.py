"""Rate limits of three windows, told in the headers of every answer to somebody who is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from attrs import define, field

from peft_studio_testkit.sandbox.clock import Clock

#: Name, quota, seconds. More than a real account has, so that no test meets them by chance.
WINDOWS: Final = (("minute", 6_000, 60), ("hour", 60_000, 3_600), ("day", 500_000, 86_400))


@define
class Window:
    """So many requests in so many seconds; the next one begins with the first request after it."""

    clock: Clock
    name: str
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


class Limits:
    """The three of them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Nothing is used."""
        self._windows = [Window(self._clock, *window) for window in WINDOWS]

    def set_minute(self, requests: int, seconds: float) -> None:
        """Another quota and length for the smallest window."""
        self._windows[0] = Window(self._clock, "minute", requests, seconds)

    def take(self) -> Window | None:
        """Count a request in each; the window in which it is one too many."""
        refusing = [window for window in self._windows if not window.take()]
        return max(refusing, key=lambda window: window.resets, default=None)

    def headers(self) -> dict[str, str]:
        """As structured fields."""
        return {
            "ratelimit": self._each(lambda window: f"r={window.remaining};t={window.resets}"),
            "ratelimit-policy": self._each(lambda window: f"q={window.quota};w={math.ceil(window.seconds)}"),
        }

    def _each(self, told: Callable[[Window], str]) -> str:
        return ", ".join(f'"{window.name}";{told(window)}' for window in self._windows)

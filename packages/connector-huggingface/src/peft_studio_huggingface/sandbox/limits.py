"""Rate limits: one window for the API, one for files, told in the headers of every answer."""

from __future__ import annotations

import math
from typing import Final

from attrs import define, field

from peft_studio_testkit.sandbox.clock import Clock

#: Name, quota, seconds. The quota is more than a real account has, so that no test meets it by chance.
WINDOWS: Final = {"api": (100_000, 300), "resolvers": (500_000, 300)}


@define
class Window:
    """So many requests in so many seconds; the next one begins with the first request after it."""

    clock: Clock
    name: str
    quota: int
    seconds: float
    _began: float = field(default=-math.inf, init=False)
    _used: int = field(default=0, init=False)

    def take(self) -> bool:
        """Count one request; False when it is one too many."""
        now = self.clock.now()
        if now >= self._began + self.seconds:
            self._began, self._used = now, 0
        self._used += 1
        return self._used <= self.quota

    def headers(self) -> dict[str, str]:
        """As structured fields."""
        left, resets = max(0, self.quota - self._used), max(0, math.ceil(self._began + self.seconds - self.clock.now()))
        return {
            "ratelimit": f'"{self.name}";r={left};t={resets}',
            "ratelimit-policy": f'"fixed window";"{self.name}";q={self.quota};w={math.ceil(self.seconds)}',
        }


class Limits:
    """The two of them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Nothing is used."""
        self._windows = {name: Window(self._clock, name, *window) for name, window in WINDOWS.items()}

    def set(self, requests: int, seconds: float) -> None:
        """Another quota and length for both."""
        self._windows = {name: Window(self._clock, name, requests, seconds) for name in WINDOWS}

    def of(self, path: str) -> Window:
        """The window that a request falls into."""
        return self._windows["resolvers" if "/resolve/" in path else "api"]

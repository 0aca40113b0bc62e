"""Rate limits: one window for the API, one for files, told in the headers of every answer."""

from __future__ import annotations

import math
from typing import Final

from attrs import define

from peft_studio_testkit.sandbox.clock import Clock
from peft_studio_testkit.sandbox.window import Window

#: Name, quota, seconds. The quota is more than a real account has, so that no test meets it by chance.
WINDOWS: Final = {"api": (100_000, 300), "resolvers": (500_000, 300)}


@define
class NamedWindow(Window):
    """One of the two."""

    name: str

    def headers(self) -> dict[str, str]:
        """As structured fields."""
        return {
            "ratelimit": f'"{self.name}";r={self.remaining};t={self.resets}',
            "ratelimit-policy": f'"fixed window";"{self.name}";q={self.quota};w={math.ceil(self.seconds)}',
        }


class Limits:
    """The two of them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Nothing is used."""
        self._windows = {name: NamedWindow(self._clock, *window, name) for name, window in WINDOWS.items()}

    def set(self, requests: int, seconds: float) -> None:
        """Another quota and length for both."""
        self._windows = {name: NamedWindow(self._clock, requests, seconds, name) for name in WINDOWS}

    def of(self, path: str) -> NamedWindow:
        """The window that a request falls into."""
        return self._windows["resolvers" if "/resolve/" in path else "api"]

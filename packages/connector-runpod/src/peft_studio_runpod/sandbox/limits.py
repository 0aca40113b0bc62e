"""Rate limits of three windows, told in the headers of every answer to somebody who is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from attrs import define

from peft_studio_testkit.sandbox.clock import Clock
from peft_studio_testkit.sandbox.window import Window

#: Quota, seconds, name. More than a real account has, so that no test meets them by chance.
WINDOWS: Final = ((6_000, 60, "minute"), (60_000, 3_600, "hour"), (500_000, 86_400, "day"))


@define
class NamedWindow(Window):
    """One of the three."""

    name: str


class Limits:
    """The three of them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Nothing is used."""
        self._windows = [NamedWindow(self._clock, *window) for window in WINDOWS]

    def set_minute(self, requests: int, seconds: float) -> None:
        """Another quota and length for the smallest window."""
        self._windows[0] = NamedWindow(self._clock, requests, seconds, "minute")

    def take(self) -> NamedWindow | None:
        """Count a request in each; the window in which it is one too many."""
        refusing = [window for window in self._windows if not window.take()]
        return max(refusing, key=lambda window: window.resets, default=None)

    def headers(self) -> dict[str, str]:
        """As structured fields."""
        return {
            "ratelimit": self._each(lambda window: f"r={window.remaining};t={window.resets}"),
            "ratelimit-policy": self._each(lambda window: f"q={window.quota};w={math.ceil(window.seconds)}"),
        }

    def _each(self, told: Callable[[NamedWindow], str]) -> str:
        return ", ".join(f'"{window.name}";{told(window)}' for window in self._windows)

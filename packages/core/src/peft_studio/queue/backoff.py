"""How long to wait before the next attempt: twice as long each time, and never in step with other clients."""

from __future__ import annotations

from collections.abc import Callable

#: Seconds after the first failure, and after any.
FIRST, LONGEST = 2.0, 300.0


def backoff(failures: int, random: Callable[[], float]) -> float:
    """Seconds after so many failures in a row; `random` gives numbers from 0 to 1, and shortens it by up to a half."""
    longest: float = min(FIRST * 2.0 ** min(max(failures, 1) - 1, 30), LONGEST)
    return longest * (0.5 + random() / 2)

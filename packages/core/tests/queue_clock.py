"""A clock that goes when it is told to, for tests of the queue."""

from __future__ import annotations

from attrs import define

from peft_studio.queue import NewOperation


@define
class Clock:
    """Seconds since the epoch."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


def operation(key: str = "one", **changes) -> NewOperation:
    """Something to queue; each in a stream of its own unless said otherwise."""
    return NewOperation(**{"kind": "touch", "connector": "acme", "key": key, "stream": key, **changes})

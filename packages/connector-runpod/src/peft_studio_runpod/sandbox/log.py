"""A pod's log: what its container wrote and what the platform says of it, numbered, until the pod is deleted."""

from __future__ import annotations

import threading
from typing import Final

from attrs import frozen

from peft_studio_runpod.sandbox.timeline import Timeline

#: So many lines are kept; older ones are gone, and cursors that point at them are stale.
KEPT: Final = 5000


@frozen
class Line:
    """One line."""

    number: int
    at: str
    source: str
    text: str

    @property
    def cursor(self) -> str:
        """What `Last-Event-ID` names it by."""
        return f"{self.at}/{self.number:012d}"


class PodLog:
    """Lines as they come. Any thread writes."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._lock = threading.Lock()
        self._lines: list[Line] = []
        self._count = 0

    @property
    def lines(self) -> list[Line]:
        """What is kept, oldest first."""
        with self._lock:
            return list(self._lines)

    @property
    def container_lines(self) -> list[str]:
        """What the container wrote, for tests."""
        return [line.text for line in self.lines if line.source == "container"]

    def add(self, source: str, text: str) -> None:
        """Write one line, and wake who waits for it."""
        with self._lock:
            self._count += 1
            now = self._timeline.clock.now()
            self._lines = [*self._lines[1 - KEPT :], Line(self._count, self._timeline.text(now), source, text)]
        self._timeline.clock.ring()

    def after(self, number: int) -> list[Line]:
        """The lines after that one."""
        return [line for line in self.lines if line.number > number]

    def rotate(self) -> None:
        """Forget every line so far: a cursor that a client holds is stale now."""
        with self._lock:
            self._lines = []

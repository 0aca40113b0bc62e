"""When the client was here last. A request that is still under way counts as now, while something comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

#: Seconds of silence after which an open request is believed to have nobody at its other end. Answers take less.
SILENCE: Final = 90.0


class Visits:
    """Kept by the gate, read by the watchdog. `clock` gives seconds since the epoch."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last = clock()
        self._present = 0
        #: When the last byte of an input came.
        self.last_input = clock()

    @property
    def last(self) -> float:
        """When the client was here last."""
        return min(self._clock(), self._last + SILENCE) if self._present else self._last

    def note(self) -> None:
        """Something of a request has come in, or gone out."""
        self._last = self._clock()

    def note_input(self) -> None:
        """Bytes of an input are coming in."""
        self.last_input = self._clock()

    @contextmanager
    def visit(self) -> Iterator[None]:
        """One request."""
        self._present += 1
        self.note()
        try:
            yield
        finally:
            self._present -= 1
            self.note()

"""Where the events of a job stand in its log, so that a page from any sequence number is read without the rest.

Sequence numbers have no gaps, so the n-th line is the n-th event: counting newlines is enough, and lines go out as
they stand in the file.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from peft_studio.models import JobEvent
from peft_studio_worker.events import from_line

#: An offset is remembered for each so many lines.
STRIDE: Final = 256
#: Limits of one page.
MOST_EVENTS: Final = 1000
MOST_BYTES: Final = 1 << 20
_BLOCK: Final = 1 << 20
_STATE: Final = b'"type":"state"'


class EventIndex:
    """Grows with the log; threads may share it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        #: Where the lines 1, 1 + STRIDE, 1 + 2 * STRIDE, … start.
        self._offsets = [0]
        self._end = 0
        self.last_sequence = 0
        self.last_state: JobEvent | None = None

    def refresh(self) -> int:
        """Read what is new. Returns the newest sequence number."""
        with self._lock:
            if not self._path.exists() or self._path.stat().st_size <= self._end:
                return self.last_sequence
            with self._path.open("rb") as file:
                file.seek(self._end)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._count(line)
            return self.last_sequence

    def page(self, after: int) -> list[bytes]:
        """Lines of the events after that number, at most a page of them, without their newlines."""
        self.refresh()
        if after >= self.last_sequence:
            return []
        lines: list[bytes] = []
        size = 0
        with self._path.open("rb", buffering=_BLOCK) as file:
            file.seek(self._offsets[after // STRIDE])
            for _ in range(after % STRIDE):
                file.readline()
            for _ in range(min(MOST_EVENTS, self.last_sequence - after)):
                line = file.readline()
                size += len(line)
                if lines and size > MOST_BYTES:
                    break
                lines.append(line[:-1])
        return lines

    def _count(self, line: bytes) -> None:
        self._end += len(line)
        self.last_sequence += 1
        if self.last_sequence % STRIDE == 0:
            self._offsets.append(self._end)
        if _STATE in line:
            event = from_line(line)
            self.last_state = event if event.type == "state" else self.last_state

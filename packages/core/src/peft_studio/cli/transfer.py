"""A line on the terminal that tells how much has arrived, and how fast."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from peft_studio.transfers import counted

#: Seconds between two looks.
_LOOK: Final = 0.2
_CLEAR: Final = "\r\033[K"


@contextmanager
def shown_transfer() -> Iterator[None]:
    """Meanwhile show what arrives, on a terminal; it is gone afterwards."""
    if not sys.stderr.isatty():
        yield
        return
    meter = _Meter()
    with counted(meter.add):
        try:
            yield
        finally:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()


class _Meter:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._size = 0
        self._began = self._told = time.monotonic()

    def add(self, size: int) -> None:
        """Called from any thread, for each piece."""
        with self._lock:
            self._size += size
            now = time.monotonic()
            if now - self._told < _LOOK:
                return
            self._told = now
            sys.stderr.write(f"{_CLEAR}{as_size(self._size)}  {as_size(self._size / (now - self._began))}/s")
            sys.stderr.flush()


def as_size(size: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"

"""Lines that carry the moment they were printed: the origin from which a log's lag is counted."""

from __future__ import annotations

import os
import sys
import time
from typing import Final

PREFIX: Final = "stamp "
#: Seconds between two lines; no multiple of the periods at which followers look.
INTERVAL: Final = 0.073


def emit(count: int, descriptor: int) -> None:
    """Print `count` stamped lines, one every `INTERVAL` seconds."""
    for _ in range(count):
        os.write(descriptor, f"{PREFIX}{time.time():.6f}\n".encode())
        time.sleep(INTERVAL)


def lag(line: str) -> float | None:
    """Seconds since the line was printed, when it is one of ours."""
    line = line.strip()
    return time.time() - float(line.removeprefix(PREFIX)) if line.startswith(PREFIX) else None


if __name__ == "__main__":
    emit(int(sys.argv[1]), 1)

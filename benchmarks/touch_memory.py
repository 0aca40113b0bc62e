"""Use so many bytes of memory, and give them back: they belong to this machine then, for a while."""

from __future__ import annotations

import ctypes
import mmap
import sys


def main(size: int) -> None:
    """Write to every byte."""
    memory = mmap.mmap(-1, size)
    start = (ctypes.c_char * size).from_buffer(memory)
    ctypes.memset(start, 1, size)


if __name__ == "__main__":
    main(int(sys.argv[1]))

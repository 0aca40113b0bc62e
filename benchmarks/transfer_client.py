"""Bring an artifact home as a client does; tells how long it took and how the memory grew. Runs in our environment."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from pathlib import Path

from peft_studio.rented import Worker

_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


async def main(address: str, token: str, destination: Path) -> dict[str, float]:
    """Seconds, and MiB."""
    async with Worker(address, token) as worker:
        if not await worker.is_there():
            raise SystemExit("the worker is not there")
        before, started = memory(), time.perf_counter()
        await worker.download(destination)
        seconds = time.perf_counter() - started
    return {"seconds": seconds, "growth": (peak() - before) / 2**20}


def memory() -> int:
    """Bytes now; the peak so far where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except FileNotFoundError:
        return peak()
    return pages * resource.getpagesize()


def peak() -> int:
    """Most bytes so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))))

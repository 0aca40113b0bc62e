"""Follow many jobs at once in one program; tells how late each event was, and the cost. Runs in our environment."""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Awaitable, Sequence
from datetime import UTC, datetime

from transfer_client import memory, peak

from peft_studio.rented import Worker

TOKEN = "token-of-this-job-alone-0123456789"


async def follow(address: str) -> list[float]:
    """Seconds that each event was late."""
    async with Worker(address, TOKEN) as worker:
        return [(datetime.now(UTC) - event.time).total_seconds() async for event in worker.events()]


async def main(address: str, jobs: int) -> dict[str, object]:
    """All of them."""
    return await measured([follow(f"{address}/{number}") for number in range(jobs)])


async def measured(follows: Sequence[Awaitable[list[float]]]) -> dict[str, object]:
    """Follow at once. The start of Python does not count."""
    memory_before, cpu_before, started = memory(), _cpu(), time.perf_counter()
    lags = await asyncio.gather(*follows)
    return {
        "lags": [lag for each in lags for lag in each],
        "events": [len(each) for each in lags],
        "growth": peak() - memory_before,
        "cpu": _cpu() - cpu_before,
        "seconds": time.perf_counter() - started,
    }


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], int(sys.argv[2])))))

"""What is done for a job before it can say anything itself, told as if it were its log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import datetime
from typing import Any

from peft_studio.models import JobEvent


async def told(
    work: Callable[[Callable[[str], None]], Awaitable[Any]], clock: Callable[[], datetime]
) -> AsyncGenerator[JobEvent]:
    """Do `work`, and give each line that it tells as a log event with the number 0. Raises what `work` raises."""
    said: asyncio.Queue[str | None] = asyncio.Queue()
    doing = asyncio.ensure_future(work(said.put_nowait))
    doing.add_done_callback(lambda _: said.put_nowait(None))
    try:
        while (line := await said.get()) is not None:
            data = {"level": "info", "message": line, "source": "platform"}
            yield JobEvent(sequence=0, time=clock(), type="log", data=data)
        await doing
    finally:
        doing.cancel()
        await asyncio.gather(doing, return_exceptions=True)

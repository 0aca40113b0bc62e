"""The addresses of events: pages by long poll, and a stream of server-sent events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from peft_studio_worker.serving.job_run import JobRun
from peft_studio_worker.serving.problems import problem

#: Seconds between two looks at the log.
POLL: Final = 0.05
LONGEST_WAIT: Final = 60.0
#: Seconds of silence after which a stream says that it is still there.
HEARTBEAT: Final = 15.0


class Events:
    """`/v1/events`. Both ways end early when the worker goes down."""

    def __init__(self, run: JobRun, closing: asyncio.Event) -> None:
        self._run = run
        self._closing = closing

    async def get(self, request: Request) -> Response:
        """Events after a sequence number, as soon as there are any."""
        given = request.headers.get("last-event-id") or request.query_params.get("after", "0")
        wait = request.query_params.get("wait", "0")
        if not given.isdecimal() or not _is_seconds(wait):
            return problem(400, f"after must be a sequence number, and wait seconds from 0 to {LONGEST_WAIT:g}")
        if "text/event-stream" in request.headers.get("accept", ""):
            headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
            return StreamingResponse(self._stream(int(given)), media_type="text/event-stream", headers=headers)
        lines, is_over = await self._next(int(given), min(float(wait), LONGEST_WAIT))
        last = int(given) + len(lines) if lines else min(int(given), self._run.index.last_sequence)
        text = b'{"events":[%b],"last":%d,"is_over":%b}' % (b",".join(lines), last, b"true" if is_over else b"false")
        return Response(text, media_type="application/json")

    async def _stream(self, after: int) -> AsyncIterator[bytes]:
        yield b": events\n\n"
        is_over = False
        while not is_over and not self._closing.is_set():
            lines, is_over = await self._next(after, HEARTBEAT)
            yield (
                b"".join(b"id: %d\ndata: %b\n\n" % (number, line) for number, line in enumerate(lines, start=after + 1))
                or b": still here\n\n"
            )
            after += len(lines)

    async def _next(self, after: int, wait: float) -> tuple[list[bytes], bool]:
        """The next page, and whether it is the last one."""
        deadline = time.monotonic() + wait
        while True:
            is_over = await asyncio.to_thread(self._is_over)  # before the page: what comes later is not lost
            lines = await asyncio.to_thread(self._run.index.page, after)
            all_sent = after + len(lines) >= self._run.index.last_sequence
            if lines or is_over or time.monotonic() >= deadline or self._closing.is_set():
                return lines, is_over and all_sent
            await asyncio.sleep(POLL)

    def _is_over(self) -> bool:
        return self._run.is_over


def _is_seconds(text: str) -> bool:
    try:
        return float(text) >= 0
    except ValueError:
        return False

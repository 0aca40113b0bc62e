"""Answers that take their time: log lines as events, plain text or messages, and files that can be had in parts."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from starlette.requests import HTTPConnection
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.websockets import WebSocket

from peft_studio_testkit.sandbox.clock import Clock
from peft_studio_testkit.sandbox.jobs import Job


def line_events(
    connection: HTTPConnection,
    clock: Clock,
    job: Job,
    *,
    data: Callable[[str], str] = str,
    end_event: str | None = "end",
) -> Response:
    """The job's lines as server-sent events, numbered from 1; `Last-Event-ID` resumes after that line.

    It ends when the job ends, with an event of the name `end_event` whose data is the status. `data` makes the payload
    of a line, such as a JSON document.
    """
    given = connection.headers.get("last-event-id", "0")
    after = int(given) if given.isdecimal() else 0

    async def events() -> AsyncIterator[bytes]:
        async for number, line in numbered_lines(clock, job, after):
            yield _event(data(line), id=str(number))
        if end_event is not None:
            yield _event(str(job.status), event=end_event)

    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(events(), media_type="text/event-stream", headers=headers)


def line_text(clock: Clock, job: Job, after: int = 0) -> Response:
    """The job's lines after that number as plain text, as they come; ends when the job ends."""

    async def lines() -> AsyncIterator[bytes]:
        async for _, line in numbered_lines(clock, job, after):
            yield f"{line}\n".encode()

    return StreamingResponse(lines(), media_type="text/plain")


async def line_messages(websocket: WebSocket, clock: Clock, job: Job) -> None:
    """The job's lines as text messages of a websocket, as they come; closed when the job ends.

    uvicorn speaks websockets where the package `websockets` is installed.
    """
    await websocket.accept()
    sending, leaving = (asyncio.ensure_future(each) for each in (_send_lines(websocket, clock, job), _gone(websocket)))
    try:
        await asyncio.wait([sending, leaving], return_when=asyncio.FIRST_COMPLETED)
        if sending.done():
            sending.result()
            await websocket.close()
    finally:
        sending.cancel()
        leaving.cancel()


async def _send_lines(websocket: WebSocket, clock: Clock, job: Job) -> None:
    async for _, line in numbered_lines(clock, job):
        await websocket.send_text(line)


async def _gone(websocket: WebSocket) -> None:
    """Wait until the client leaves; nothing else wakes a handler that waits for the next line."""
    while (await websocket.receive())["type"] != "websocket.disconnect":
        pass


async def numbered_lines(clock: Clock, job: Job, after: int = 0) -> AsyncIterator[tuple[int, str]]:
    """Line number and line, as they come, until the job is over."""
    sent = after
    while True:
        is_over = job.status.is_terminal  # before the lines: what was written until then is all there is
        lines = job.lines
        for number, line in enumerate(lines[sent:], start=sent + 1):
            yield number, line
        sent = max(sent, len(lines))
        if is_over:
            return
        await clock.until(lambda seen=sent: len(job.lines) > seen or job.status.is_terminal)  # type: ignore[misc]  # bound now


def download(path: Path, *, media_type: str = "application/octet-stream", name: str | None = None) -> Response:
    """A file, streamed, whole or the part that `Range` asks for while `If-Range` holds; its ETag is its sha256."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return _File(path, media_type=media_type, filename=name, headers={"etag": f'"{digest}"'})


class _File(FileResponse):
    chunk_size = 1 << 18


def _event(data: str, *, id: str | None = None, event: str | None = None) -> bytes:
    fields = [] if id is None else [f"id: {id}"]
    fields += [] if event is None else [f"event: {event}"]
    fields += [f"data: {line}" for line in data.split("\n")]
    return ("\n".join(fields) + "\n\n").encode()


def json_line(line: str) -> str:
    """A line as `{"message": ...}`, for platforms whose events are JSON."""
    return json.dumps({"message": line}, ensure_ascii=False)

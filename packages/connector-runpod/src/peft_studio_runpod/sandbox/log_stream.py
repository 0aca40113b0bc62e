"""GET /v2/pods/{id}/logs: server-sent events that begin with the first line and never end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, Final

from starlette.responses import StreamingResponse
from starlette.types import Send

from peft_studio_runpod.sandbox.log import Line
from peft_studio_runpod.sandbox.pods import Pod
from peft_studio_runpod.sandbox.problems import Refusal

_HEADERS: Final = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache",
    "connection": "keep-alive",
    "x-accel-buffering": "no",
}


class _WithheldResponse(StreamingResponse):
    """Says nothing at all, headers included, before there is something to say."""

    async def stream_response(self, send: Send) -> None:
        has_begun = False
        async for chunk in self.body_iterator:
            if not has_begun:
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                has_begun = True
            await send({"type": "http.response.body", "body": chunk, "more_body": True})


def log_response(pod: Pod, query: Mapping[str, Any], cursor: str | None) -> StreamingResponse:
    """The lines from where the client wants them: its cursor, else `since`, else the last `tail`."""
    sources = (query["source"],) if "source" in query else ("container", "system")
    after = _start(pod, query, cursor, sources)
    return _WithheldResponse(_events(pod, sources, after), headers=_HEADERS)


def _start(pod: Pod, query: Mapping[str, Any], cursor: str | None, sources: tuple[str, ...]) -> int:
    """Number of the last line that is not sent."""
    lines = [line for line in pod.log.lines if line.source in sources]
    if cursor is not None:
        known = [line.number for line in pod.log.lines if line.cursor == cursor]
        if not known:
            raise Refusal(400, "invalid Last-Event-ID")
        return known[0]
    if "since" in query:
        since = datetime.fromisoformat(query["since"])
        return next((line.number - 1 for line in lines if datetime.fromisoformat(line.at) >= since), _last(pod))
    tail = query.get("tail", 100)
    if tail == 0:
        return _last(pod)
    return lines[-tail].number - 1 if len(lines) >= tail else 0


def _last(pod: Pod) -> int:
    lines = pod.log.lines
    return lines[-1].number if lines else 0


async def _events(pod: Pod, sources: tuple[str, ...], after: int) -> AsyncIterator[bytes]:
    clock = pod.timeline.clock
    while True:
        for line in pod.log.after(after):
            after = line.number
            if line.source in sources:
                yield _event(line)
        await clock.until(lambda seen=after: bool(pod.log.after(seen)))  # type: ignore[misc]  # bound now


def _event(line: Line) -> bytes:
    data = json.dumps(
        {"ts": line.at, "source": line.source, "line": line.text}, ensure_ascii=False, separators=(",", ":")
    )
    return f"id: {line.cursor}\ndata: {data}\n\n".encode()

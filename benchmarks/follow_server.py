"""Serves the events of many running jobs at the pace of real ones: one step a second each. Runs in our environment.

`/<turn>/<job>` has a worker's `/v1/events`, by long poll and as server-sent events. The jobs of a turn begin with the
first request for one of them, each at a moment of its own within the first second.
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

_JOBS = 100


class Jobs:
    """Each makes so many steps and ends."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._began: dict[str, float] = {}

    async def answer(self, request: Request) -> Response:
        """The events after a number, as soon as there are any; or all as they come."""
        first = self._first_step(request.path_params["turn"], int(request.path_params["job"]))
        if "text/event-stream" in request.headers.get("accept", ""):
            return StreamingResponse(self._stream(first), media_type="text/event-stream")
        after = int(request.query_params["after"])
        until = time.time() + float(request.query_params["wait"])
        await asyncio.sleep(max(0.0, min(first + after, until) - time.time()))
        last = max(after, min(self._steps, math.floor(time.time() - first) + 1))
        events = [_event(number, first) for number in range(after + 1, last + 1)]
        return JSONResponse({"events": events, "last": last, "is_over": last == self._steps})

    async def _stream(self, first: float) -> AsyncIterator[bytes]:
        for number in range(1, self._steps + 1):
            await asyncio.sleep(max(0.0, first + number - 1 - time.time()))
            yield b"id: %d\ndata: %b\n\n" % (number, json.dumps(_event(number, first)).encode())

    def _first_step(self, turn: str, job: int) -> float:
        return self._began.setdefault(turn, time.time()) + 1 + job / _JOBS


def _event(number: int, first: float) -> dict[str, object]:
    """A step as a trainer tells it."""
    moment = datetime.fromtimestamp(first + number - 1, UTC).isoformat()
    return {"sequence": number, "time": moment, "type": "metric", "step": number, "loss": 2 / number, "tokens": 4096}


def main(steps: int) -> None:
    """Serve until killed; the address is printed."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(1024)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
    application = Starlette(routes=[Route("/{turn}/{job}/v1/events", Jobs(steps).answer)])
    config = uvicorn.Config(application, lifespan="off", log_config=None, access_log=False, timeout_keep_alive=75)
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main(int(sys.argv[1]))

"""The ports of rented machines, as the platform's proxy opens them to the world under its own address.

A sandbox has no host name for each machine: the first two parts of a path stand for it, such as `/proxy/{machine}/...`,
and what comes after them is the program's.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Final

import httpx2
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Headers that belong to one connection.
_HOP: Final = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection", "host"}


async def pass_on(request: Request, port: int, limit: float | None = None) -> Response:
    """What the program at that port of 127.0.0.1 answers; both bodies as they come.

    Raises `httpx2.TransportError` when nobody listens there, and `TimeoutError` when the answer does not begin within
    `limit` seconds.
    """
    client = httpx2.AsyncClient(trust_env=False, timeout=httpx2.Timeout(None, connect=5.0))
    try:
        async with asyncio.timeout(limit):
            answer = await client.send(_onward(client, request, port), stream=True)
    except ClientDisconnect:  # in the middle of its body
        await client.aclose()
        return Response(status_code=499)
    except BaseException:
        await client.aclose()
        raise
    streamed = StreamingResponse(_body(client, answer), answer.status_code)
    streamed.raw_headers = [(name.lower(), value) for name, value in answer.headers.raw if not _is_hop(name)]
    return streamed


class InProcess(Response):
    """The answer of a program in this very process to what comes below that path."""

    def __init__(
        self, program: ASGIApp, path: str, *, limit: float | None = None, too_late: ASGIApp | None = None
    ) -> None:
        """`too_late` answers when the program has not begun within `limit` seconds."""
        super().__init__()
        self._program = program
        self._path = path
        self._limit = limit
        self._too_late = too_late

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        inside = {**scope, "path": self._path, "raw_path": self._path.encode(), "root_path": "", "path_params": {}}
        try:
            async with asyncio.timeout(self._limit) as patience:

                async def sending(message: Message) -> None:
                    patience.reschedule(None)  # it has begun
                    await send(message)

                await self._program(inside, receive, sending)
        except TimeoutError:
            if self._too_late is None:
                raise
            await self._too_late(scope, receive, send)


def free_ports(count: int) -> list[int]:
    """Different ports of 127.0.0.1 on which nobody listens."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _onward(client: httpx2.AsyncClient, request: Request, port: int) -> httpx2.Request:
    path = request.scope["raw_path"].decode("latin-1").split("/", 3)[3]
    query = request.scope["query_string"].decode("latin-1")
    has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
    return client.build_request(
        request.method,
        f"http://127.0.0.1:{port}/{path}" + (f"?{query}" if query else ""),
        headers=[(name, value) for name, value in request.headers.raw if not _is_hop(name)],
        content=request.stream() if has_body else None,
    )


def _is_hop(name: bytes) -> bool:
    return name.decode("latin-1").lower() in _HOP


async def _body(client: httpx2.AsyncClient, answer: httpx2.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    finally:
        await answer.aclose()
        await client.aclose()

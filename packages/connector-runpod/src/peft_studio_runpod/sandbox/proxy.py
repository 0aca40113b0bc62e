"""The proxy that makes a pod's http ports reachable: `/proxy/{podId}-{port}/...` instead of a host name for each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

import httpx2
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from peft_studio_runpod.sandbox.fleet import Fleet
from peft_studio_runpod.sandbox.pods import PodStatus
from peft_studio_runpod.sandbox.problems import edge_page
from peft_studio_testkit.sandbox.scripted_worker import ScriptedWorker

_METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
#: Headers that belong to one connection.
_HOP: Final = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection", "host"}


class Proxy:
    """Passes requests on, both bodies as they come; public, as the real one is."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        #: Seconds of real time until a pod has to begin its answer; then 524.
        self.limit = 100.0

    def routes(self) -> list[Route]:
        """Its path."""
        return [Route("/proxy/{pod}-{port:int}/{path:path}", self.forward, methods=_METHODS)]

    async def forward(self, request: Request) -> Response:
        """One request."""
        inside = request.path_params["port"]
        pod = self._fleet.get(request.path_params["pod"])
        if pod is None or inside not in pod.spec.http_ports:
            return PlainTextResponse("not found", 404)
        if pod.worker is not None and pod.status is PodStatus.RUNNING and pod.worker.listens_at(inside):
            return _Pretended(pod.worker, request.path_params["path"], self.limit)
        port = pod.port(inside)
        return edge_page(502) if port is None else await self._forward(request, port)

    async def _forward(self, request: Request, port: int) -> Response:
        client = httpx2.AsyncClient(verify=False, trust_env=False, timeout=httpx2.Timeout(None, connect=5.0))
        try:
            async with asyncio.timeout(self.limit):
                answer = await client.send(_onward(client, request, port), stream=True)
        except TimeoutError:
            await client.aclose()
            return edge_page(524)
        except httpx2.TransportError:
            await client.aclose()
            return edge_page(502)
        except ClientDisconnect:  # in the middle of its body
            await client.aclose()
            return Response(status_code=499)
        except BaseException:
            await client.aclose()
            raise
        streamed = StreamingResponse(_body(client, answer), answer.status_code)
        streamed.raw_headers = [
            (name.lower(), value) for name, value in answer.headers.raw if name.decode("latin-1").lower() not in _HOP
        ]
        return streamed


class _Pretended(Response):
    """The answer of a worker in this very process."""

    def __init__(self, worker: ScriptedWorker, path: str, limit: float) -> None:
        super().__init__()
        self._worker = worker
        self._path = f"/{path}"
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        inside = {**scope, "path": self._path, "raw_path": self._path.encode(), "root_path": "", "path_params": {}}
        try:
            async with asyncio.timeout(self._limit) as patience:

                async def sending(message: Message) -> None:
                    patience.reschedule(None)  # it has begun
                    await send(message)

                await self._worker(inside, receive, sending)
        except TimeoutError:
            await edge_page(524)(scope, receive, send)


def _onward(client: httpx2.AsyncClient, request: Request, port: int) -> httpx2.Request:
    path = request.scope["raw_path"].decode("latin-1").split("/", 3)[3]
    query = request.scope["query_string"].decode("latin-1")
    headers = [(name, value) for name, value in request.headers.raw if name.decode("latin-1").lower() not in _HOP]
    has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
    return client.build_request(
        request.method,
        f"http://127.0.0.1:{port}/{path}" + (f"?{query}" if query else ""),
        headers=headers,
        content=request.stream() if has_body else None,
    )


async def _body(client: httpx2.AsyncClient, answer: httpx2.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    finally:
        await answer.aclose()
        await client.aclose()

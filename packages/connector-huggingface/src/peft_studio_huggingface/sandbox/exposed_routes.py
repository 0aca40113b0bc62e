"""The open ports of Jobs: `/exposed/{job}-{port}/...` in place of a host name for each; public, as the real ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import httpx2
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from peft_studio_huggingface.sandbox.rented_job import PORT, PretendingJob, RentedJob
from peft_studio_testkit.sandbox import JobTable
from peft_studio_testkit.sandbox.scripted_worker import ScriptedWorker

_METHODS: Final = ["GET", "HEAD", "POST", "PUT"]
#: Headers that belong to one connection.
_HOP: Final = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "proxy-connection", "host"}


class ExposedRoutes:
    """The way to each worker; and the ear of the start commands that do not run."""

    def __init__(self, jobs: JobTable) -> None:
        self._jobs = jobs

    def routes(self) -> list[Route]:
        """Both."""
        return [
            Route("/exposed/{id}-{port:int}/{path:path}", self.forward, methods=_METHODS),
            Route("/ended/{id}", self.ended, methods=["POST"]),
        ]

    async def forward(self, request: Request) -> Response:
        """To the worker, which wants a token of its own."""
        job = self._jobs.get(request.path_params["id"])
        port = job.open_port if isinstance(job, RentedJob) and request.path_params["port"] == PORT else None
        if port is None:
            return _nobody()
        if isinstance(job, PretendingJob) and job.worker is not None:
            return _Pretended(job.worker, f"/{request.path_params['path']}")
        return await _forward(request, port)

    async def ended(self, request: Request) -> Response:
        """The command has ended, and the job is completed."""
        job = self._jobs[request.path_params["id"]]
        assert isinstance(job, PretendingJob)
        job.finish("COMPLETED")
        return Response(status_code=204)


class _Pretended(Response):
    """The answer of a worker in this very process."""

    def __init__(self, worker: ScriptedWorker, path: str) -> None:
        super().__init__()
        self._worker = worker
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        inside = {**scope, "path": self._path, "raw_path": self._path.encode(), "root_path": "", "path_params": {}}
        await self._worker(inside, receive, send)


async def _forward(request: Request, port: int) -> Response:
    """Both bodies as they come."""
    client = httpx2.AsyncClient(trust_env=False, timeout=httpx2.Timeout(None, connect=5.0))
    try:
        answer = await client.send(_onward(client, request, port), stream=True)
    except httpx2.TransportError:
        await client.aclose()
        return _nobody()
    except ClientDisconnect:  # in the middle of its body
        await client.aclose()
        return Response(status_code=499)
    except BaseException:
        await client.aclose()
        raise
    streamed = StreamingResponse(_body(client, answer), answer.status_code)
    streamed.raw_headers = [pair for pair in answer.headers.raw if pair[0].decode("latin-1").lower() not in _HOP]
    return streamed


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


def _nobody() -> Response:
    return JSONResponse({"error": "nothing listens there"}, 502)

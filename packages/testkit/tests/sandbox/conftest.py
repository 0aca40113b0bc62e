"""A made-up platform, written as an author would write it, and a client."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from peft_studio_testkit.sandbox import HttpSandbox, Job
from peft_studio_testkit.sandbox.pages import paginate
from peft_studio_testkit.sandbox.streaming import download, line_events


class AcmeSandbox(HttpSandbox):
    """Acme trains adapters: POST a config, poll, read the log as events, fetch the files."""

    page_size = 3

    def routes(self) -> list[Route]:
        return [
            Route("/v1/jobs", self.create, methods=["POST"]),
            Route("/v1/jobs", self.index, methods=["GET"]),
            Route("/v1/jobs/{id}", self.show),
            Route("/v1/jobs/{id}/logs", self.logs),
            Route("/v1/jobs/{id}/files/{name:path}", self.file),
            Route("/v1/jobs/{id}/{action}", self.act, methods=["POST"]),
            Route("/v1/at/{moment:float}", self.wait),
            Route("/v1/bug", self.bug),
            Route("/v1/deep", lambda _: JSONResponse({"list": [{"a": 1}, {"b": [{}]}]})),
            Route("/v1/plain", lambda _: PlainTextResponse("plain")),
            Route(
                "/v1/together",
                lambda _: StreamingResponse(iter([b"data: a\n\ndata: b\n\ndata: c\n\n", b"data: d\n\n"])),
            ),
            Route("/v1/empty", lambda _: Response()),
            Route("/v1/big", self.big),
        ]

    async def create(self, request: Request) -> Response:
        job = self.jobs.add(await request.json())
        return JSONResponse({"id": job.id}, status_code=201)

    async def index(self, request: Request) -> Response:
        page = paginate(list(self.jobs), request.query_params.get("cursor"), self.page_size)
        return JSONResponse({"jobs": page.items, "next": page.next_cursor})

    async def show(self, request: Request) -> Response:
        job = self.find(request)
        return JSONResponse({"id": job.id, "status": job.status, "reason": job.reason, "files": list(job.files)})

    async def logs(self, request: Request) -> Response:
        return line_events(request, self.clock, self.find(request))

    async def file(self, request: Request) -> Response:
        return download(self.find(request).files.path(request.path_params["name"]))

    async def act(self, request: Request) -> Response:
        job = self.find(request)
        done = {"cancel": job.cancel, "pause": job.pause, "resume": job.resume}[request.path_params["action"]]()
        return JSONResponse({"status": job.status}, status_code=200 if done else 409)

    async def wait(self, request: Request) -> Response:
        await self.clock.sleep_until(request.path_params["moment"])
        return JSONResponse({"now": self.clock.now()})

    async def big(self, request: Request) -> Response:
        file = self.folder / "big"
        if not file.exists():
            file.write_bytes(random.Random(1).randbytes(3_000_000))
        return download(file)

    async def bug(self, request: Request) -> Response:
        raise ZeroDivisionError("an author's mistake")

    def find(self, request: Request) -> Job:
        if (id := request.path_params["id"]) not in self.jobs:
            raise HTTPException(404, "no such job")
        return self.jobs[id]


@pytest.fixture(scope="session")
def acme() -> Iterator[AcmeSandbox]:
    """The platform; one server for all tests."""
    with AcmeSandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(acme: AcmeSandbox) -> AcmeSandbox:
    """The platform as if nothing had happened yet."""
    acme.reset()
    return acme


@pytest.fixture
def client(sandbox: AcmeSandbox) -> Iterator[httpx2.Client]:
    """A client that knows the key."""
    headers = {"authorization": f"Bearer {sandbox.key}"}
    with httpx2.Client(base_url=sandbox.url, headers=headers, timeout=30) as client:
        yield client


@pytest.fixture
def create(client: httpx2.Client) -> Any:
    """Creates a job over HTTP and returns its id."""
    return lambda **config: client.post("/v1/jobs", json=config).json()["id"]

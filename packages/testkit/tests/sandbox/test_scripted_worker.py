"""A worker that pretends, as its client sees it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import httpx2
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from peft_studio.errors import PlatformError
from peft_studio.models import JobStatus
from peft_studio.rented import Worker, inputs_of
from peft_studio_testkit.sandbox import HttpSandbox
from peft_studio_testkit.sandbox.scripted_worker import ScriptedWorker
from peft_studio_worker.serving.api import application
from peft_studio_worker.serving.machine import Machine
from peft_studio_worker.serving.settings import Settings

TOKEN = "t" * 40
METHODS = ["GET", "HEAD", "PUT", "POST"]
VARIABLES = {"PEFT_STUDIO_WORKER_JOB": "ps-test-1", "PEFT_STUDIO_WORKER_TOKEN": TOKEN}


class _Inside(Response):
    """Hands a request on."""

    def __init__(self, served: ASGIApp, path: str) -> None:
        super().__init__()
        self._served, self._path = served, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._served({**scope, "path": f"/{self._path}", "root_path": "", "path_params": {}}, receive, send)


class MachineSandbox(HttpSandbox):
    """One rented machine, and beside it the real worker before it has a job."""

    worker_here: ScriptedWorker
    real: ASGIApp
    heard: list[str]

    def routes(self) -> list[Route]:
        return [
            Route("/machine/{path:path}", self.machine, methods=METHODS),
            Route("/real/{path:path}", self.really, methods=METHODS),
            Route("/machine", self.end, methods=["DELETE"]),
        ]

    def authenticate(self, request: Any) -> bool:
        return True

    async def machine(self, request: Request) -> Response:
        if not self.worker_here.listens_at(8000):
            return Response(status_code=502)
        return _Inside(self.worker_here, request.path_params["path"])

    async def really(self, request: Request) -> Response:
        return _Inside(self.real, request.path_params["path"])

    async def end(self, request: Request) -> Response:
        self.worker_here.end()
        return Response(status_code=204)

    def rent(self, folder: Path, **script: Any) -> None:
        self.reset()
        self.script(**script)
        teardown = f'[{{"url": "{self.url}/machine"}}]'
        environment = {**VARIABLES, "PEFT_STUDIO_WORKER_TEARDOWN": teardown}
        self.heard = []
        job = self.jobs.add(id="machine-1", tag="ps-test-1", is_held=True)
        self.worker_here = ScriptedWorker(job, environment, folder / "mount", self.heard.append)
        settings = attrs.evolve(Settings.take(dict(environment)), root=folder / "real")
        self.real = application(Machine(settings, time.time), TOKEN, asyncio.Event())


@pytest.fixture(scope="module")
def machines() -> Iterator[MachineSandbox]:
    """One server for all."""
    with MachineSandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(machines: MachineSandbox, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MachineSandbox]:
    """A machine that was rented just now."""
    machines.rent(tmp_path, **getattr(request, "param", {}))
    yield machines
    assert [] == machines.errors


@pytest.fixture
def client(sandbox: MachineSandbox) -> Iterator[httpx2.Client]:
    """Who has the token."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    with httpx2.Client(base_url=f"{sandbox.url}/machine/v1", headers=headers, timeout=10) as client:
        yield client


@pytest.fixture
def feed(sandbox: MachineSandbox) -> Callable[..., Any]:
    """Brings the job to the machine, with core's own client."""

    async def bring(**changes: Any) -> None:
        config, inputs = inputs_of(sandbox.training_config(**changes))
        async with Worker(f"{sandbox.url}/machine", TOKEN) as worker:
            await worker.start(config, inputs, created=(await worker.state()).now)

    return lambda **changes: asyncio.run(bring(**changes))


def scripted(**script: Any) -> pytest.MarkDecorator:
    """How the job of a test goes."""
    return pytest.mark.parametrize("sandbox", [script], indirect=True, ids=[""])


def events(client: httpx2.Client, after: int = 0) -> list[dict[str, Any]]:
    """What is there now."""
    found: list[dict[str, Any]] = client.get("/events", params={"after": after}).json()["events"]
    return found


def told(client: httpx2.Client) -> list[str]:
    """The lines and states so far, in order."""
    return [event.get("message", event.get("status", event["type"])) for event in events(client)]


def test_a_job_begins_when_it_is_brought(sandbox, client, feed):
    """However long the machine waits, the job is pending until then; its script counts from there."""
    sandbox.advance(1000)
    assert (False, "pending") == tuple(client.get("/job").json()[name] for name in ("has_job", "state"))
    with pytest.raises(ValueError, match="will not be running"):
        sandbox.advance_until("machine-1", JobStatus.RUNNING)
    feed(rank=5)
    assert (True, "pending") == tuple(client.get("/job").json()[name] for name in ("has_job", "state"))
    sandbox.advance(5)
    assert "running" == client.get("/job").json()["state"]
    assert 5 == sandbox.jobs["machine-1"].received["rank"]
    assert sandbox.jobs["machine-1"].received["dataset_path"].startswith("inputs/")


@scripted(lines=["one", "", "  drei ✓"])
def test_the_log_is_the_jobs_own(sandbox, client, feed):
    """Its lines and its states and nothing else, in their order, each under the same number for ever."""
    feed()
    sandbox.advance(25)
    first = events(client)
    assert ["running", "one"] == told(client)[:2]
    sandbox.advance(40)
    assert ["running", "one", "", "  drei ✓", "artifact", "completed"] == told(client)
    assert first == events(client)[: len(first)]
    assert list(range(1, 7)) == [event["sequence"] for event in events(client)]


@scripted(fails="CUDA out of memory", lines=["one"])
def test_what_fails_says_why(sandbox, client, feed):
    """The last event has the reason of the script; there is no artifact."""
    feed()
    sandbox.advance(100)
    last = events(client)[-1]
    assert ("failed", "CUDA out of memory") == (last["status"], last["reason"])
    assert 404 == client.get("/artifact").status_code
    assert client.get("/events").json()["is_over"]


def test_a_long_poll_hears_of_the_clock(sandbox, client, feed):
    """Whoever waits for events gets them when time passes, not when the wait is over."""
    feed()
    with ThreadPoolExecutor(1) as reader:
        answer = reader.submit(client.get, "/events", params={"wait": "50"}, timeout=60)
        while sandbox.open_streams == 0:
            time.sleep(0.005)
        began = time.monotonic()
        sandbox.advance(10)
        assert "running" == answer.result().json()["events"][0]["status"]
    assert time.monotonic() - began < 40


def test_a_long_poll_ends_with_its_client(sandbox, client, feed):
    """Nothing goes on for a client that has left."""
    feed()
    with pytest.raises(httpx2.ReadTimeout):
        client.get("/events", params={"wait": "60"}, timeout=0.2)
    deadline = time.monotonic() + 30
    while sandbox.open_streams and time.monotonic() < deadline:
        time.sleep(0.005)
    assert 0 == sandbox.open_streams


@scripted(files={"adapter_model.safetensors": bytes(range(256)), "deep/ünï %.txt": b"yes"})
def test_the_artifact_comes_home(sandbox, client, feed, tmp_path):
    """Core's client fetches and verifies it; a part of a file is served by range."""
    feed()
    sandbox.advance_until("machine-1", JobStatus.COMPLETED)

    async def fetch() -> None:
        async with Worker(f"{sandbox.url}/machine", TOKEN) as worker:
            await worker.download(tmp_path / "adapter")

    asyncio.run(fetch())
    assert b"yes" == (tmp_path / "adapter" / "deep" / "ünï %.txt").read_bytes()
    part = client.get("/artifact/adapter_model.safetensors", headers={"range": "bytes=250-"})
    assert (206, bytes(range(250, 256))) == (part.status_code, part.content)
    assert f'"{hashlib.sha256(bytes(range(256))).hexdigest()}"' == part.headers["etag"]


def test_pause_resume_and_cancel(sandbox, client, feed):
    """They reach the job at once; what the state forbids is 409."""
    feed()
    sandbox.advance(10)
    assert "paused" == client.post("/stop", json={"action": "pause"}).json()["state"]
    sandbox.advance(1000)
    assert "paused" == client.get("/job").json()["state"]
    assert "running" == client.post("/resume", json={}).json()["state"]
    assert "cancelled" == client.post("/stop", json={"action": "cancel"}).json()["state"]
    assert JobStatus.CANCELLED is sandbox.jobs["machine-1"].status
    assert [409, 409] == [client.post("/resume", json={}).status_code, _stop(client, "pause")]
    assert 200 == _stop(client, "cancel")
    assert ["running", "paused", "running", "cancelled"] == [
        event["status"] for event in events(client) if event["type"] == "state"
    ]


def test_a_paused_job_can_be_cancelled(sandbox, client, feed):
    """It is cancelled at the platform too."""
    feed()
    sandbox.advance(10)
    assert [200, 200] == [_stop(client, "pause"), _stop(client, "cancel")]
    assert JobStatus.CANCELLED is sandbox.jobs["machine-1"].status


def _stop(client: httpx2.Client, action: str) -> int:
    return client.post("/stop", json={"action": action}).status_code


def test_a_machine_that_is_stopped_pauses_its_job(sandbox, client, feed):
    """It is not to be reached then, and goes on by itself; a pause that was wished for lasts."""
    feed()
    sandbox.advance(10)
    sandbox.worker_here.stop()
    sandbox.advance(1000)
    assert 502 == client.get("/health").status_code
    sandbox.worker_here.start()
    assert "running" == client.get("/job").json()["state"]
    assert 200 == _stop(client, "pause")
    sandbox.worker_here.stop()
    sandbox.worker_here.start()
    assert "paused" == client.get("/job").json()["state"]


def test_an_upload_is_checked_and_goes_on(client):
    """Bytes arrive in parts, and are those that their name promises."""
    data = b"x" * 1000
    address = f"/inputs/{hashlib.sha256(data).hexdigest()}"
    assert 404 == client.head(address).status_code
    client.put(address, content=data[:400], headers={"upload-length": "1000"})
    assert ("400", "?0") == tuple(client.head(address).headers[f"upload-{name}"] for name in ("offset", "complete"))
    assert 409 == client.put(address, content=data, headers={"upload-length": "1000"}).status_code
    wrong = {"upload-length": "1000", "upload-offset": "400"}
    assert 422 == client.put(address, content=b"y" * 600, headers=wrong).status_code
    assert 200 == client.put(address, content=data, headers={"upload-length": "1000"}).status_code
    assert "?1" == client.head(address).headers["upload-complete"]


def test_the_machine_ends_itself_by_its_recipe(sandbox, client, feed):
    """When the client has the artifact; before, and with another one, it is 409."""
    feed()
    assert 409 == client.post("/ack", json={"abandon": True}).status_code
    sandbox.advance_until("machine-1", JobStatus.COMPLETED)
    manifest = client.get("/artifact").content
    assert 409 == client.post("/ack", json={"manifest": "0" * 64}).status_code
    client.post("/ack", json={"manifest": hashlib.sha256(manifest).hexdigest()})
    assert 1 == sandbox.count("DELETE", "^/machine$")
    assert 502 == client.get("/health").status_code


def test_a_worker_that_cannot_start_says_why(sandbox, client, tmp_path):
    """A machine with a bad setting never answers; what the worker has against it stands in its log."""
    sandbox.reset()
    job = sandbox.jobs.add(is_held=True)
    environment = {**VARIABLES, "PEFT_STUDIO_WORKER_TOKEN": "short"}
    sandbox.worker_here = ScriptedWorker(job, environment, tmp_path, sandbox.heard.append)
    assert 502 == client.get("/health").status_code
    assert "PEFT_STUDIO_WORKER_TOKEN must be at least 32 letters" in sandbox.heard[-1]


def test_another_job_is_refused(sandbox, feed):
    """As by the real worker: one machine has one job; the same again is fine."""
    feed(rank=4)
    feed(rank=4)
    with pytest.raises(PlatformError, match="another job"):
        feed(rank=8)


REQUESTS = [
    ("GET", "/health", {}),
    ("GET", "/job", {}),
    ("GET", "/job", {"headers": {"authorization": "Bearer wrong"}}),
    ("GET", "/events", {"params": {"after": "0"}}),
    ("GET", "/events", {"params": {"after": "x"}}),
    ("GET", "/artifact", {}),
    ("GET", "/artifact/adapter_model.safetensors", {}),
    ("HEAD", f"/inputs/{'0' * 64}", {}),
    ("PUT", "/inputs/nonsense", {"content": b"x"}),
    ("PUT", f"/inputs/{'0' * 64}", {"content": b"x"}),
    ("PUT", "/job", {"content": b"{"}),
    ("PUT", "/job", {"json": {"config": {"rank": -1}, "inputs": []}}),
    ("POST", "/stop", {"json": {"action": "explode"}}),
    ("POST", "/stop", {"json": {"action": "pause"}}),
    ("POST", "/resume", {"json": {}}),
    ("POST", "/ack", {"json": {"manifest": "0" * 64}}),
    ("DELETE", "/job", {}),
    ("GET", "/nothing", {}),
]
#: What is told of the moment, or of which machine it is.
_OF_THE_MOMENT = {"now", "started", "ends_by"}


@pytest.mark.parametrize(("method", "path", "more"), REQUESTS, ids=str)
def test_the_real_worker_answers_the_same(sandbox, client, method, path, more):
    """Status, type and body; before there is a job, for afterwards the real one trains."""
    pretended = client.request(method, path, **more)
    real = client.request(method, f"{sandbox.url}/real/v1{path}", **more)
    assert real.status_code == pretended.status_code
    assert real.headers.get("content-type") == pretended.headers.get("content-type")
    assert _timeless(real) == _timeless(pretended)


def _timeless(answer: httpx2.Response) -> Any:
    if not answer.content:
        return None
    if "json" not in answer.headers["content-type"]:
        return answer.text
    return {name: value for name, value in answer.json().items() if name not in _OF_THE_MOMENT}

"""A real worker as a process on loopback, clients that speak plain HTTP, and a platform that answers as it is told."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from peft_studio.artifacts import write_manifest
from peft_studio_worker.events import EventLog
from peft_studio_worker.job_folder import JobFolder

TOKEN = "t0ken-of-this-job-alone-" + "x" * 16
PATIENCE = 60.0


def until(is_so: Callable[[], Any]) -> Any:
    """Wait for something to become true, and give it back."""
    deadline = time.monotonic() + PATIENCE
    while not (value := is_so()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)
    return value


class Answer:
    """An HTTP answer, read to its end."""

    def __init__(self, answer: http.client.HTTPResponse) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self.body = answer.read()

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


class Worker:
    """`peft-studio-worker serve`, started as often as a test likes on the same folder."""

    def __init__(self, root: Path, **settings: str) -> None:
        self.root = root
        self.folder = JobFolder(root / "ps-job")
        self.said = root.parent / f"{root.name}-stderr.txt"
        self.settings = {
            "JOB": "ps-job",
            "TOKEN": TOKEN,
            "ROOT": str(root),
            "HOST": "127.0.0.1",
            "PORT": "0",
        } | settings
        self.command = [sys.executable, "-m", "peft_studio_worker", "serve"]
        self.more: dict[str, str] = {}
        self.tls: ssl.SSLContext | None = None
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def environment(self) -> dict[str, str]:
        """Of the process."""
        return os.environ | {f"PEFT_STUDIO_WORKER_{name}": value for name, value in self.settings.items()} | self.more

    def start(self) -> Worker:
        """Start it, and wait until it listens."""
        before = self.said.stat().st_size if self.said.exists() else 0
        self.spawn()
        self.port = int(until(lambda: self._listening(before)))
        return self

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it."""
        with self.said.open("ab") as said:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said,
                start_new_session=True,
            )  # fmt: skip
        return self.process

    def _listening(self, before: int) -> str | None:
        assert self.process is not None
        text = self.said.read_bytes()[before:].decode()
        found = re.search(r"serves job ps-job at https?://127\.0\.0\.1:(\d+)", text)
        assert found or self.process.poll() is None, text
        return found[1] if found else None

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Send a signal to the worker alone and wait for its end."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)

    def end(self) -> None:
        """Kill it and every process of its job."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)

    def processes(self) -> list[int]:
        """Supervisor and trainer of this folder."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().split(b"\0")
            except OSError:
                continue
            if str(self.folder.path).encode() in words:
                found.append(int(path.parent.name))
        return found

    def connect(self) -> http.client.HTTPConnection:
        """A connection of its own."""
        if self.tls is not None:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=PATIENCE, context=self.tls)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request with the token, unless `authorization` is given."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = self.connect()
        try:
            connection.request(method, path, data, {"authorization": f"Bearer {TOKEN}"} | named)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        """GET."""
        return self.ask("GET", path, **headers)

    def post(self, path: str, body: Any = None) -> Answer:
        """POST."""
        return self.ask("POST", path, body)

    @property
    def job(self) -> dict[str, Any]:
        """What the worker says of its job."""
        return dict(self.get("/v1/job").json)

    def upload(self, content: bytes) -> str:
        """Send an input whole; its sha256."""
        digest = hashlib.sha256(content).hexdigest()
        answer = self.ask("PUT", f"/v1/inputs/{digest}", content, upload_length=str(len(content)))
        assert 200 == answer.status, answer.body
        return digest

    def submit(self, dataset: Path, **config: Any) -> Answer:
        """Upload the dataset and put a job that trains on it."""
        content = dataset.read_bytes()
        return self.ask("PUT", "/v1/job", job_of(self.upload(content), len(content), **config))

    def events(self, after: int = 0) -> list[dict[str, Any]]:
        """Everything that the log holds now, over the API."""
        found: list[dict[str, Any]] = []
        while page := self.get(f"/v1/events?after={after + len(found)}").json["events"]:
            found += page
        return found

    def messages(self) -> list[str]:
        """What was said in the log by the machine."""
        lines = self.folder.events.read_text(encoding="utf-8").splitlines() if self.folder.events.exists() else []
        events = [json.loads(line) for line in lines]
        return [event["message"] for event in events if event.get("source") == "machine" and "message" in event]

    def finished(self, status: str = "completed", **files: bytes) -> Worker:
        """Lay out the folder of a job that is over, as the supervisor leaves it; no training."""
        self.folder.path.mkdir(parents=True)
        now = datetime.now(UTC).isoformat()
        self.folder.write_job({"id": "ps-job", "created": now, "config": {}, "inputs": []})
        if files:
            self.folder.artifact.mkdir()
            for name, content in files.items():
                (self.folder.artifact / name).write_bytes(content)
            write_manifest(self.folder.artifact)
        log = EventLog(self.folder.events)
        log.append("state", {"status": "running"})
        log.append("state", {"status": status, "resumable": status == "paused"})
        log.close()
        return self

    @property
    def manifest(self) -> str:
        """Digest of the artifact's manifest on the disk."""
        return hashlib.sha256((self.folder.artifact / "manifest.json").read_bytes()).hexdigest()


def job_of(digest: str, size: int, **config: Any) -> dict[str, Any]:
    """The body of a job."""
    dataset = f"inputs/{digest}.jsonl"
    quick = {"base_model": "nobody/nothing", "dataset_path": dataset, "rank": 4, "dtype": "float32", "batch_size": 8}
    return {"config": quick | config, "inputs": [{"sha256": digest, "size": size, "suffix": ".jsonl"}]}


@pytest.fixture
def make_worker(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    """Make workers, each with a folder of its own; all of them end with the test."""
    made: list[Worker] = []

    def make(**settings: str) -> Worker:
        made.append(Worker(tmp_path / f"root{len(made)}", **settings))
        return made[-1]

    yield make
    for worker in made:
        worker.end()


@pytest.fixture
def worker(make_worker: Callable[..., Worker]) -> Worker:
    """A worker that waits for its job."""
    return make_worker().start()


class Platform:
    """A platform's API on loopback: remembers what it is asked and answers what it is told to, 204 in the end."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.requests: list[dict[str, Any]] = []
        #: Where answers lead.
        self.location = ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def handle_one(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                seen = {"method": self.command, "path": self.path, "headers": dict(self.headers), "body": body}
                outer.requests.append(seen)
                self.send_response(outer.statuses.pop(0) if outer.statuses else 204)
                self.send_header("content-length", "0")
                self.send_header("location", outer.location)
                self.end_headers()

            do_DELETE = do_POST = do_GET = handle_one  # noqa: N815 -- the names that http.server looks for

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def recipe(self) -> str:
        """A teardown recipe for this platform."""
        step = {
            "method": "DELETE",
            "url": f"{self.url}/pods/${{POD_ID}}",
            "headers": {"authorization": "Bearer ${POD_KEY}"},
            "accept": [204, 404],
        }
        return json.dumps([step])

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def make_platform() -> Iterator[Callable[..., Platform]]:
    """Make platforms."""
    made: list[Platform] = []

    def make(*statuses: int) -> Platform:
        made.append(Platform(*statuses))
        return made[-1]

    yield make
    for platform in made:
        platform.close()

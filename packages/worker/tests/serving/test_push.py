"""An artifact that nobody collects goes to the registry before its machine ends, or the log says why it could not."""

from __future__ import annotations

import base64
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from .conftest import until

PUSH = {"kind": "huggingface", "repo_id": "me/adapter", "private": True, "token_env": "REGISTRY_TOKEN"}


class Hub:
    """The calls of the Hugging Face Hub that make a repository and put small files into it."""

    def __init__(self) -> None:
        self.repository: dict[str, object] = {}
        self.files: dict[str, bytes] = {}
        self.tokens: set[str | None] = set()
        #: Requests that are answered with 403 first.
        self.refusals = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.tokens.add(self.headers["authorization"])
                body = self.rfile.read(int(self.headers["content-length"]))
                is_refused, outer.refusals = outer.refusals > 0, outer.refusals - 1
                text = json.dumps({} if is_refused else outer.answer(self.path, body)).encode()
                self.send_response(403 if is_refused else 200)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, path: str, body: bytes) -> dict[str, object]:
        """Remember what is asked for."""
        if path == "/api/repos/create":
            self.repository = json.loads(body)
            return {"url": f"{self.url}/me/adapter"}
        if path == "/api/models/me/adapter/preupload/main":
            files = json.loads(body)["files"]
            return {"files": [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False} for each in files]}
        if path == "/api/validate-yaml":
            return {"errors": [], "warnings": []}
        assert path == "/api/models/me/adapter/commit/main", path
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                self.files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        return {"commitUrl": f"{self.url}/me/adapter/commit/abc", "commitOid": "abc"}


@pytest.fixture
def hub():
    """A registry on loopback."""
    hub = Hub()
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


@pytest.fixture
def abandoned(make_worker, make_platform):
    """Make a worker with an artifact that nobody comes for."""

    def make(**environment: str):
        platform = make_platform()
        settings = {"KEEP": "0.2", "RETRY": "0.02", "PUSH": json.dumps(PUSH), "TEARDOWN": platform.recipe()}
        worker = make_worker(**settings).finished(**{"adapter.bin": b"weights", "README.md": b"card"})
        worker.more = {"POD_ID": "1", "POD_KEY": "rpa_SECRETKEY", "REGISTRY_TOKEN": "hf_SECRETTOKEN"} | environment
        worker.platform = platform
        worker.start()
        until(lambda: worker.messages()[-1:] == ["the platform has accepted the teardown of this machine"])
        assert b"hf_SECRETTOKEN" not in worker.said.read_bytes() + worker.folder.events.read_bytes()
        return worker

    return make


def test_pushed_before_the_end(abandoned, hub) -> None:
    """Every file is there, in a private repository, with the registry's own token; then the machine ends."""
    worker = abandoned(HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="0")

    assert [
        "pushing the artifact to me/adapter: the job has stopped, and no client has come for 0.2 s",
        f"pushed the artifact: {hub.url}/me/adapter/commit/abc",
        "the machine ends: the job has stopped, and no client has come for 0.2 s",
    ] == worker.messages()[:-1]
    assert {name: (worker.folder.artifact / name).read_bytes() for name in hub.files} == hub.files
    assert {"README.md", "adapter.bin", "manifest.json"} == set(hub.files)
    assert ("adapter", True) == (hub.repository["name"], hub.repository.get("visibility") == "private")
    assert {"Bearer hf_SECRETTOKEN"} == hub.tokens
    assert 1 == len(worker.platform.requests)


def test_a_push_that_fails_is_tried_again(abandoned, hub) -> None:
    """The registry's trouble may pass."""
    hub.refusals = 2

    worker = abandoned(HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="0")

    said = worker.messages()
    assert 2 == len([line for line in said if line.startswith("the artifact could not be pushed: ")])
    assert f"pushed the artifact: {hub.url}/me/adapter/commit/abc" in said
    assert {"README.md", "adapter.bin", "manifest.json"} == set(hub.files)


def test_a_push_that_always_fails(abandoned) -> None:
    """Each failure is said, and the machine ends all the same."""
    worker = abandoned(HF_HUB_OFFLINE="1")

    failures = [line for line in worker.messages() if "could not be pushed: OfflineModeIsEnabled: " in line]
    assert 6 == len(failures)
    assert failures[0].endswith("another attempt follows after 0.02 s, where the limits allow it")
    assert "another attempt" not in failures[-1]


def test_a_push_without_the_library(make_worker, make_platform, tmp_path) -> None:
    """It is said what is missing, and the machine ends all the same."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['huggingface_hub'] = None\n")
    worker = make_worker(KEEP="0.2", PUSH=json.dumps(PUSH), TEARDOWN=make_platform().recipe())
    worker.finished(**{"adapter.bin": b"weights"})
    worker.more = {"POD_ID": "1", "POD_KEY": "k", "PYTHONPATH": str(tmp_path)}
    worker.start()

    until(lambda: worker.messages()[-1:] == ["the platform has accepted the teardown of this machine"])
    assert "the artifact cannot be pushed: huggingface_hub is not installed here" == worker.messages()[1]

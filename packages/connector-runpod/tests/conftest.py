"""A running sandbox, and plain HTTP to it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest

from peft_studio_runpod.connector import RunpodConnector
from peft_studio_runpod.sandbox import RunpodSandbox
from peft_studio_runpod.sandbox.container import processes_of
from peft_studio_runpod.sandbox.pods import Pod

GPU = "NVIDIA GeForce RTX 4090"


@pytest.fixture(scope="module")
def running() -> Iterator[RunpodSandbox]:
    """One server for the tests of a module."""
    with RunpodSandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: RunpodSandbox) -> Iterator[RunpodSandbox]:
    """As new; it has no bug when the test is over."""
    running.reset()
    yield running
    assert [] == running.errors


@pytest.fixture
def api(sandbox: RunpodSandbox) -> Iterator[httpx2.Client]:
    """The account's owner."""
    headers = {"authorization": f"Bearer {sandbox.key}", "user-agent": "peft-studio-tests/1"}
    with httpx2.Client(base_url=sandbox.url, headers=headers, timeout=20) as client:
        yield client


@pytest.fixture
def wanted() -> Callable[..., dict[str, Any]]:
    """The body of a create; `changes` replace its fields, and None takes one away."""

    def body(script: str = "sleep 60", **changes: Any) -> dict[str, Any]:
        command = {"entrypoint": ["/bin/sh", "-c"], "cmd": [script]}
        plain = {"name": "test", "image": "demo:1", "disk": 20, "gpu": {"id": GPU, "count": 1}}
        return {name: value for name, value in {**plain, **command, **changes}.items() if value is not None}

    return body


@pytest.fixture
def rent(sandbox: RunpodSandbox, api: httpx2.Client, wanted: Callable[..., dict[str, Any]]) -> Callable[..., Pod]:
    """Makes a pod that runs a shell script, and lets the time pass until it does."""

    def make(script: str = "sleep 60", **changes: Any) -> Pod:
        answer = api.post("/v2/pods", json=wanted(script, **changes))
        assert answer.status_code == 201, answer.text
        sandbox.advance(5)
        return sandbox.pods[answer.json()["id"]]

    return make


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """Waits until something is true: what a process of the machine does is awaited, and not timed."""

    def wait(condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + 60
        while not (value := condition()):
            assert time.monotonic() < deadline, "it did not happen"
            time.sleep(0.01)
        return value

    return wait


@pytest.fixture
def alive() -> Callable[[Pod], list[psutil.Process]]:
    """What is alive of a pod; it may be gone a moment later."""
    return lambda pod: list(processes_of(pod.id))


@pytest.fixture
async def connect(
    sandbox: RunpodSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Awaitable[RunpodConnector]]]:
    """Makes a connector that is connected to the sandbox, with settings of its own."""
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path / "home"))
    async with AsyncExitStack() as connected:

        async def make(**settings: str) -> RunpodConnector:
            connector = RunpodConnector()
            connected.push_async_callback(connector.disconnect)
            await connector.connect({**sandbox.credentials(), **settings})
            return connector

        yield make


@pytest.fixture
async def connector(connect: Callable[..., Awaitable[RunpodConnector]]) -> RunpodConnector:
    """One with the default settings."""
    return await connect()

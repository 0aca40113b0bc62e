"""A running sandbox, and plain HTTP to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import pytest

from peft_studio_huggingface.connector import HuggingFaceConnector
from peft_studio_huggingface.sandbox import HuggingFaceSandbox


@pytest.fixture(scope="module")
def running() -> Iterator[HuggingFaceSandbox]:
    """One server for the tests of a module."""
    with HuggingFaceSandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: HuggingFaceSandbox) -> Iterator[HuggingFaceSandbox]:
    """As new; it has no bug when the test is over."""
    running.reset()
    yield running
    assert [] == running.errors


@pytest.fixture
def api(sandbox: HuggingFaceSandbox) -> Iterator[httpx2.Client]:
    """The user `me`."""
    with httpx2.Client(base_url=sandbox.url, headers={"authorization": f"Bearer {sandbox.key}"}, timeout=20) as client:
        yield client


@pytest.fixture
async def connect(
    sandbox: HuggingFaceSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[..., Awaitable[HuggingFaceConnector]]]:
    """Makes a connector that is connected to the sandbox, with settings of its own."""
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path / "home"))
    async with AsyncExitStack() as connected:

        async def make(**settings: str) -> HuggingFaceConnector:
            connector = HuggingFaceConnector()
            connected.push_async_callback(connector.disconnect)
            await connector.connect({**sandbox.credentials(), **settings})
            return connector

        yield make


@pytest.fixture
async def connector(connect: Callable[..., Awaitable[HuggingFaceConnector]]) -> HuggingFaceConnector:
    """One with the default settings."""
    return await connect()

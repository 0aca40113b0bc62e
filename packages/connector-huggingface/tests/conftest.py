"""A running sandbox, and plain HTTP to it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

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

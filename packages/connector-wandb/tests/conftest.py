"""A running sandbox, and plain HTTP to it."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

from peft_studio_wandb.sandbox import WandbSandbox


@pytest.fixture(scope="module")
def running() -> Iterator[WandbSandbox]:
    """One server for the tests of a module."""
    with WandbSandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: WandbSandbox) -> Iterator[WandbSandbox]:
    """As new; when the test is over it has no bug, and has seen no document that its schema does not have."""
    running.reset()
    yield running
    assert ([], []) == (running.errors, running.contract_violations)


@pytest.fixture
def api(sandbox: WandbSandbox) -> Iterator[httpx2.Client]:
    """The account's owner."""
    with httpx2.Client(base_url=sandbox.url, auth=("api", sandbox.key), timeout=20) as client:
        yield client

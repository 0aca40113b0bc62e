"""A running sandbox, plain HTTP to it, and W&B's own SDK, unchanged and in an environment of its own.

The SDK comes from the public registry; where that cannot be reached, what needs it is skipped and says so.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from peft_studio_testkit.vendor import python_with
from peft_studio_wandb.sandbox import WandbSandbox

SDK = "wandb==0.31.0"
CLIENTS = Path(__file__).with_name("clients")


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


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the SDK's `python` and `wandb`."""
    return python_with(tmp_path_factory.mktemp("sdk"), SDK).parent


@pytest.fixture
def run(sandbox, programs, tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program of that environment, told by the documented variables where W&B is."""

    def start(program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        own = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "WANDB_ERROR_REPORTING": "false"}
        done = subprocess.run(
            [programs / program, *arguments], env={**own, **sandbox.environment(), **variables}, cwd=tmp_path,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return start


@pytest.fixture
def seen(run, tmp_path) -> Callable[..., Any]:
    """Runs one of our programs for the SDK; answers what it wrote to seen.json."""

    def read(program: str, *arguments: str, **variables: str) -> Any:
        run("python", str(CLIENTS / program), *arguments, **variables)
        return json.loads((tmp_path / "seen.json").read_text(encoding="utf-8"))

    return read

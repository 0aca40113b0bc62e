"""A client that dies at any moment of a job on a rented machine: the next one finds everything, and loses nothing."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from peft_studio_runpod.connector import RunpodConnector
from peft_studio_runpod.sandbox import RunpodSandbox

from .rented_life import FILES, LINES, Life

POINTS = 120
#: What a whole life takes, before anybody is killed, is less than this.
NEVER = 10**9
MODULES = ["peft_studio_runpod.connector", "peft_studio_runpod.plugin", "peft_studio.reconcile.teardown"]


@pytest.fixture
def sandbox() -> Iterator[RunpodSandbox]:
    """A minute of the platform's in a tenth of a second of ours."""
    with RunpodSandbox(speed=600) as platform:
        yield platform


@pytest.fixture
def maker() -> Iterator[subprocess.Popen[str]]:
    """A process that makes clients."""
    command = [sys.executable, str(Path(__file__).with_name("doomed_client.py")), *MODULES]
    environment = {**os.environ, "PEFT_STUDIO_HTTP_RETRIES": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process
        stream(process.stdin).close()


def stream(file: IO[str] | None) -> IO[str]:
    """It is a pipe."""
    assert file is not None
    return file


def client(maker: subprocess.Popen[str], sandbox: RunpodSandbox, home: Path, last: int) -> int | None:
    """Let a client live up to that step; how many there were, None when it was killed."""
    sandbox.reset()
    sandbox.script(lines=LINES, files=FILES, running_seconds=30)
    names = {"api_key": "RUNPOD_API_KEY"}
    values = sandbox.credentials().items()
    order = {
        "home": str(home),
        "last": last,
        "dataset": str(sandbox.folder / "examples.jsonl"),
        "environment": {names.get(key, f"PEFT_STUDIO_RUNPOD_{key.upper()}"): value for key, value in values},
        "connector": "runpod",
    }
    stream(maker.stdin).write(json.dumps(order) + "\n")
    stream(maker.stdin).flush()
    answer: int | None = json.loads(stream(maker.stdout).readline())
    return answer


async def heir(sandbox: RunpodSandbox, home: Path) -> list[str]:
    """Another program with the same ledger puts things in order. What is wrong in the end."""
    with Life.at(sandbox, RunpodConnector, home) as life:
        begun = [job.id for job in life.ledger.jobs()]
        if not begun:  # killed before it wanted anything
            return [f"{len(sandbox.pods.ever)} pods of nobody"] if sandbox.pods.ever else []
        job = await life.inherit(begun[0])
        if job.platform_id is None:
            return [f"{len(sandbox.pods.ever)} pods, and none was found"] if sandbox.pods.ever else []
        complaints = life.verdict(job)
        await life.reconcile()
        open_ = [intent.action for intent in life.ledger.open_intents()]
        return complaints + ([f"{open_} stay open"] if open_ else [])


@pytest.mark.slow
def test_killed_at_every_point(sandbox, maker, tmp_path):
    """Between any two steps of submit, feed, follow, fetch, end: one machine, gone; each line once; the adapter."""
    whole = client(maker, sandbox, tmp_path / "whole", NEVER)
    assert whole is not None
    assert POINTS <= whole, "too few points for the test to mean anything"
    faults = {}
    points = range(1, whole + 1, max(1, whole // POINTS))
    for last in points:
        home = tmp_path / str(last)
        client(maker, sandbox, home, last)
        while sandbox.open_streams:  # what was on its way arrives
            time.sleep(0.001)
        if found := asyncio.run(heir(sandbox, home)):
            faults[last] = found
    assert {} == faults
    assert POINTS <= len(points)

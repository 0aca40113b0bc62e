"""A client that dies at any moment leaves nothing behind that the next one does not know."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from attrs import frozen

from peft_studio import ConnectorManager, Ledger
from peft_studio.reconcile import Reconciler

ROOT = Path(__file__).parents[1]
POINTS = 200
#: A day of the platform's in 1.4 seconds of ours: a job is over within moments.
SPEED = 60_000.0
#: What a whole life takes, before anybody is killed, is less than this.
NEVER = 10**9


@frozen
class Place:
    """A platform, and a process that makes clients for it."""

    sandbox: Any
    maker: subprocess.Popen[str]

    def client(self, home: Path, last: int) -> int | None:
        """Let a client live up to that step."""
        order = {
            "home": str(home),
            "last": last,
            "dataset": str(self.sandbox.folder / "examples.jsonl"),
            "environment": self.sandbox.environment(),
        }
        assert self.maker.stdin is not None
        assert self.maker.stdout is not None
        self.maker.stdin.write(json.dumps(order) + "\n")
        self.maker.stdin.flush()
        answer: int | None = json.loads(self.maker.stdout.readline())
        return answer


@pytest.fixture(scope="module")
def site(unpacked) -> Path:
    """A folder for the path that holds the connector acme."""
    return Path(unpacked(ROOT / "docs" / "examples" / "peft-studio-acme"))


@contextmanager
def opened(site: Path) -> Iterator[Place]:
    """A platform with its maker of clients."""
    from peft_studio_acme.sandbox import AcmeSandbox

    path = os.pathsep.join([str(site), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "PEFT_STUDIO_HTTP_RETRIES": "1"}
    modules = ["peft_studio_acme.connector", "peft_studio_acme.plugin"]
    command = [sys.executable, str(ROOT / "tests" / "doomed_client.py"), *modules]
    with AcmeSandbox(speed=SPEED) as sandbox:
        maker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        with maker:
            yield Place(sandbox, maker)
            assert maker.stdin is not None
            maker.stdin.close()


@pytest.fixture
def places(site, monkeypatch) -> Iterator[list[Place]]:
    """Two of them, for two cores."""
    monkeypatch.syspath_prepend(str(site))
    with ExitStack() as stack:
        yield [stack.enter_context(opened(site)) for _ in range(2)]


def fault(place: Place, home: Path, last: int) -> str | None:
    """What is wrong after a client was killed at a step and the next one has put things in order."""
    place.sandbox.reset()
    place.client(home, last)
    while place.sandbox.open_connections:  # what was on its way arrives
        time.sleep(0.001)
    jobs = place.sandbox.jobs
    tags = [job.tag for job in jobs.values()]
    if len(tags) != len(set(tags)):
        return f"created twice: {tags}"
    return asyncio.run(order(place, home))


async def order(place: Place, home: Path) -> str | None:
    """Reconcile, then end everything; None when nothing was unknown and nothing is left."""
    later = datetime.now(UTC) + timedelta(minutes=5)
    credentials = {"acme": place.sandbox.credentials()}
    with Ledger(home / "ledger.sqlite3", clock=lambda: later) as ledger:
        async with ConnectorManager(ledger=ledger, credentials=credentials) as manager:
            reconciler = Reconciler(manager, ledger)
            (account,) = await reconciler.reconcile(["acme"])
            known = {job.platform_id for job in ledger.jobs()}
            if account.error is not None or not known >= set(place.sandbox.jobs):
                return f"unknown: {set(place.sandbox.jobs) - known}, {account.error}"
            if [intent for intent in ledger.open_intents() if intent.action != "teardown"]:
                return f"open: {ledger.open_intents()}"
            for job in ledger.jobs():
                if not job.status.is_terminal:
                    await manager.jobs.cancel(job.id)
            (account,) = await reconciler.reconcile(["acme"])
            account = await reconciler.destroy(account)
            left = [job.id for job in place.sandbox.jobs.values() if not job.status.is_terminal]
            return f"left behind: {left}" if left or account.living or ledger.open_intents() else None


@pytest.mark.slow
def test_killed_at_every_point(places, tmp_path):
    """Between any two steps of submit, follow, collect, cancel and teardown: all known, none twice, none left."""
    whole = places[0].client(tmp_path / "whole", NEVER)
    assert whole is not None
    assert POINTS <= whole, "too few points for the test to mean anything"
    stride = max(1, whole // POINTS)
    free: SimpleQueue[Place] = SimpleQueue()
    for place in places:
        free.put(place)

    def attempt(last: int) -> str | None:
        place = free.get()
        try:
            return fault(place, tmp_path / str(last), last)
        finally:
            free.put(place)

    points = list(range(1, whole + 1, stride))
    with ThreadPoolExecutor(len(places)) as pool:
        faults = {last: found for last, found in zip(points, pool.map(attempt, points), strict=True) if found}

    assert {} == faults
    assert POINTS <= len(points)

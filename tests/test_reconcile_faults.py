"""Submissions through a bad network, from many programs at once; and a platform that is away for a day."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from peft_studio import ConnectionFailed, ConnectorManager, JobStatus, Ledger
from peft_studio.ledger.store import DENIED
from peft_studio.reconcile import Reconciler, Standing, reconcile_briefly

ROOT = Path(__file__).parents[1]
PROGRAMS = 8
SUBMISSIONS = 1000
#: What happens to a submission on a bad day, and whether there is a job afterwards; None says that it is refused.
FAULTS = (
    {"kind": "reset_after"},
    {"kind": "reset_before"},
    {"kind": "timeout", "commit": True},
    {"kind": "garbage"},
    {"kind": "status", "code": 500},
    {"kind": "status", "code": 503},
    {"kind": "status", "code": 402},
)


@pytest.fixture
def sandbox(unpacked, monkeypatch):
    """A platform whose clock stands still."""
    site = Path(unpacked(ROOT / "docs" / "examples" / "peft-studio-acme"))
    monkeypatch.syspath_prepend(str(site))
    from peft_studio_acme.sandbox import AcmeSandbox

    with AcmeSandbox() as opened:
        for name, value in opened.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), *sys.path]))
        monkeypatch.setenv("PEFT_STUDIO_HTTP_RETRIES", "0")
        yield opened


@pytest.mark.slow
def test_a_thousand_submissions(sandbox, tmp_path, monkeypatch):
    """Whatever the network does, there are as many jobs as submissions that are recorded as made, and none twice."""
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path))
    monkeypatch.setenv("PEFT_STUDIO_HTTP_TIMEOUT", "0.5")
    chance = random.Random(4)
    for number in range(20 * len(FAULTS)):
        fault = FAULTS[number % len(FAULTS)]
        sandbox.faults.add(method="POST", path="^/v1/jobs$", after=chance.randrange(SUBMISSIONS - 200), **fault)
    dataset = sandbox.folder / "examples.jsonl"
    command = [sys.executable, str(ROOT / "tests" / "buying_client.py"), str(SUBMISSIONS // PROGRAMS), str(dataset)]
    programs = [subprocess.Popen(command, stderr=subprocess.DEVNULL) for _ in range(PROGRAMS)]
    assert [0] * PROGRAMS == [program.wait() for program in programs]
    struck = Counter(received.fault for received in sandbox.requests if received.fault)
    while sandbox.open_connections:  # what was on its way arrives
        time.sleep(0.001)

    assert 100 < struck.total(), "the network was too good for the test to mean anything"
    check_thousand(sandbox, tmp_path / "data" / "ledger.sqlite3")


def check_thousand(sandbox, path):
    """Every submission is settled, and every job at the platform belongs to one."""
    import asyncio

    asyncio.run(settle(path))
    with Ledger(path) as ledger:
        jobs = ledger.jobs()
        made = {job.platform_id: job.id for job in jobs if job.platform_id is not None}
        failed = [job for job in jobs if job.platform_id is None]
        assert SUBMISSIONS == len(jobs)
        assert [] == ledger.open_intents()
    assert made == {job.id: job.tag for job in sandbox.jobs.values()}
    assert len(made) == len(set(made.values()))
    assert {JobStatus.FAILED} == {job.status for job in failed}
    assert any(job.reason == DENIED for job in failed)
    assert any(job.reason != DENIED for job in failed)


async def settle(path):
    """What the next command does, some minutes later."""
    later = datetime.now(UTC) + timedelta(minutes=5)
    with Ledger(path, clock=lambda: later) as ledger:
        async with ConnectorManager(ledger=ledger) as manager:
            account = await Reconciler(manager, ledger).settle("acme")
            assert account.adopted, "no answer was lost after a job had been made"


@pytest.mark.slow
async def test_a_day_without_the_platform(sandbox, tmp_path, monkeypatch):
    """While nobody answers nothing is launched and nothing ends; when the platform is back the truth is told."""
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path))
    start = datetime(2026, 11, 1, tzinfo=UTC)
    with Ledger(clock=lambda: start + timedelta(seconds=sandbox.clock.now())) as ledger:
        async with ConnectorManager(ledger=ledger) as manager:
            names = await launched(sandbox, manager, ledger)
            created = len(sandbox.jobs)
            before = {job.id: job.status for job in ledger.jobs()}
            sandbox.faults.add("refuse", times=None)
            with pytest.raises(ConnectionFailed):
                await manager.jobs.cancel(names["endless"])
            for _ in range(24):
                sandbox.advance(3600)
                await reconcile_briefly(manager, ledger, 5)
                listed = await manager.jobs.list_jobs()
                assert before == {job.id: job.status for job in listed}
                assert not any(job.reachable for job in listed)
            sandbox.faults.clear()
            assert created == len(sandbox.jobs)

            (account,) = await Reconciler(manager, ledger).reconcile(["acme"])
            after = {name: ledger.job(id).status for name, id in names.items()}
    expected = {
        "done": JobStatus.COMPLETED, "broken": JobStatus.FAILED, "lost": JobStatus.COMPLETED,
        "never": JobStatus.FAILED, "endless": JobStatus.CANCELLED, "going": JobStatus.RUNNING,
    }  # fmt: skip
    assert expected == after
    assert created == len(sandbox.jobs)
    assert [(names["going"], Standing.RUNNING)] == [(each.job, each.standing) for each in account.living]


async def launched(sandbox, manager, ledger):
    """One job of each kind, by a name for what will become of it."""
    config, long = sandbox.training_config(), {"running_seconds": 1e6}
    await manager.connect("acme")
    names = {}
    for name, script in {"done": {}, "broken": {"fails": "disk full"}, "endless": long, "going": long}.items():
        sandbox.script(**script)
        names[name] = (await manager.jobs.submit("acme", config)).id
    for name, kind in {"lost": "reset_after", "never": "reset_before"}.items():
        sandbox.faults.add(kind, method="POST", path="^/v1/jobs$")
        with pytest.raises(ConnectionFailed):
            await manager.submit_job("acme", config)
        names[name] = ledger.jobs()[0].id
    sandbox.advance(10)
    for job in ledger.jobs():
        if job.platform_id is not None:
            await manager.jobs.get(job.id)
    return names

"""One purchase at a time for each account, across processes, and nothing about the account in the lock's name."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time

import pytest

from peft_studio import PeftStudioError
from peft_studio.account_lock import AccountLock

SECRET = {"api_key": "sk-canary-0123456789"}
HOLDER = (
    "import sys, time; from peft_studio.account_lock import AccountLock\n"
    "assert AccountLock('acme', {'api_key': sys.stdin.readline().strip()}).try_acquire()\n"
    "print('held', flush=True); time.sleep(600)\n"
)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A state directory of our own."""
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def holder():
    """Another process that holds the lock."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    with process:
        process.stdin.write(SECRET["api_key"] + "\n")
        process.stdin.flush()
        assert "held\n" == process.stdout.readline()
        yield process
        process.kill()


def test_one_holder_at_a_time():
    """Two in one process exclude each other; another account, or another platform, is free."""
    first = AccountLock("acme", SECRET)
    assert first.try_acquire()

    assert not AccountLock("acme", SECRET).try_acquire()
    assert AccountLock("acme", {"api_key": "another"}).try_acquire()
    assert AccountLock("other", SECRET).try_acquire()
    first.release()
    assert AccountLock("acme", SECRET).try_acquire()


async def test_the_next_one_waits_until_the_holder_dies(holder, caplog):
    """A process that waits says so, and goes on when the other one is gone, however it went."""
    got = asyncio.Event()

    async def wait():
        async with AccountLock("acme", SECRET).held():
            got.set()

    with caplog.at_level(logging.WARNING):
        waiting = asyncio.create_task(wait())
        began = time.monotonic()
        while not caplog.messages:
            assert time.monotonic() - began < 60
            await asyncio.sleep(0.05)
    assert ["waiting for another program that is submitting to the same acme account"] == caplog.messages
    assert not got.is_set()
    holder.send_signal(signal.SIGKILL)
    await asyncio.wait_for(waiting, 60)

    assert got.is_set()


def test_nothing_about_the_account_is_readable(home):
    """Neither name nor content of any file holds the secret; only their owner reads them."""
    assert AccountLock("acme", SECRET).try_acquire()
    files = [path for path in home.rglob("*") if path.is_file()]

    assert 2 == len(files)
    for path in files:
        assert SECRET["api_key"] not in str(path)
        assert SECRET["api_key"].encode() not in path.read_bytes()
        assert 0o600 == path.stat().st_mode & 0o777


def test_the_name_is_this_machines_own(tmp_path, monkeypatch):
    """Who knows the secret cannot tell the name without the machine's key."""
    here = AccountLock("acme", SECRET).path
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path / "other"))

    assert here.name != AccountLock("acme", SECRET).path.name


def test_state_directory_that_cannot_be_used(home):
    """Without the lock nothing is bought, and one sentence says why."""
    (home / "state").write_text("a file")

    with pytest.raises(PeftStudioError, match="accounts/key cannot be used: Not a directory"):
        AccountLock("acme", SECRET)

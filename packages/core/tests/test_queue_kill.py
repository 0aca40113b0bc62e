"""Killed at any moment, nothing that was queued is lost, and nothing is done twice."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from peft_studio.queue import Queue, State

CRASHER = Path(__file__).with_name("queue_crasher.py")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")


@pytest.fixture
def memory(tmp_path):
    """A folder in memory where that can be had: a kill, unlike a power cut, loses nothing that was written there."""
    if not Path("/dev/shm").is_dir():
        yield tmp_path
        return
    with TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


def crashed(*arguments):
    """What the crasher says of itself."""
    done = subprocess.run([sys.executable, CRASHER, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("operations", "kills"), [(400, 25), pytest.param(10_000, 500, marks=pytest.mark.slow)], ids=["some", "many"]
)
def test_killed_at_random(tmp_path, operations, kills):
    """A filler and two drainers are killed again and again: all that was queued arrives once, each stream in order."""
    figures = crashed("random", tmp_path, operations, kills, 1)

    assert (kills, [0, 0, 0]) == (figures["kills"], figures["codes"])
    platform = sqlite3.connect(tmp_path / "platform.sqlite3")
    arrived = platform.execute("SELECT connector, stream, key FROM arrived ORDER BY rowid").fetchall()
    platform.close()
    assert [f"{number:06}" for number in range(operations)] == sorted(key for _, _, key in arrived)
    streams = defaultdict(list)
    for connector, stream, key in arrived:
        streams[connector, stream].append(key)
    assert all(keys == sorted(keys) for keys in streams.values())
    with Queue(tmp_path / "queue.sqlite3", known_secrets=list) as queue:
        assert {State.DONE} == {operation.state for operation in queue.operations()}
        assert operations == len(queue.operations())
        assert [("ok",)] == queue._db.execute("PRAGMA integrity_check").fetchall()


def test_submission_killed_at_each_statement(memory):
    """Wherever the first life ends, the second one brings exactly one job about, and the ledger knows it."""
    outcomes = crashed("statements", memory, "submit_job")

    assert 20 < len(outcomes)
    for outcome in outcomes:
        assert ["ps-job-one"] == outcome["arrived"]
        assert [["ps-job-one", "job ps-job-one", "pending"]] == outcome["jobs"]
        assert ["done"] == outcome["states"]
        assert 0 == outcome["open_intents"]


def test_cancellation_killed_at_each_statement(memory):
    """Wherever the first life ends, the job is cancelled in the end."""
    outcomes = crashed("statements", memory, "cancel_job")

    assert 20 < len(outcomes)
    for outcome in outcomes:
        assert ["cancelled job ps-job-one"] == outcome["arrived"]
        assert [["ps-job-one", "job ps-job-one", "cancelled"]] == outcome["jobs"]
        assert ["done"] == outcome["states"]


def test_queued_before_enqueue_returns(tmp_path):
    """Kill -9 right after `enqueue` loses nothing."""
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from peft_studio.queue import NewOperation, Queue\n"
        "queue = Queue(Path(sys.argv[1]), known_secrets=list)\n"
        "queue.enqueue(NewOperation(kind='touch', connector='acme', key='one'))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "queue.sqlite3"
    killed = subprocess.run([sys.executable, "-c", program, path], check=False)

    assert -signal.SIGKILL == killed.returncode
    with Queue(path, known_secrets=list) as queue:
        assert ["one"] == [operation.key for operation in queue.operations(State.WAITING)]

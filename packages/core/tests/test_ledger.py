"""The ledger: nothing that was written down is ever forgotten."""

import signal
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from peft_studio import JobEvent, JobNotFound, JobStatus, Ledger, PeftStudioError, TrainingConfig

CONFIG = TrainingConfig(base_model="model", dataset_path="data.jsonl", project_name="Tarn Wick!")


@pytest.fixture
def ledger(tmp_path):
    """An empty ledger."""
    with Ledger(tmp_path / "ledger.sqlite3") as opened:
        yield opened


def submitted(ledger, platform_id="pod-1"):
    """Id of a job that the platform took."""
    tag = ledger.new_tag(CONFIG)
    ledger.record_intent(tag, "runpod", CONFIG)
    ledger.record_submitted(tag, platform_id)
    return tag


def event(sequence, type="log", **data):
    """An event of now."""
    return JobEvent(sequence=sequence, time=datetime.now(UTC), type=type, data=data)


def test_tags(ledger):
    """A tag can be a host name, starts with ps- and the project, and is never the same twice."""
    tags = {ledger.new_tag(CONFIG) for _ in range(100)}

    assert 100 == len(tags)
    assert all(tag.startswith("ps-tarn-wick-") and tag.replace("-", "").isalnum() for tag in tags)


def test_intent_before_submission(ledger):
    """Between intent and answer the job is pending and its intent open; the answer settles it."""
    tag = ledger.new_tag(CONFIG)
    ledger.record_intent(tag, "runpod", CONFIG)

    assert [tag] == [intent.job_id for intent in ledger.open_intents()]
    assert (JobStatus.PENDING, None) == (ledger.job(tag).status, ledger.job(tag).platform_id)

    ledger.record_submitted(tag, "pod-1")
    assert [] == ledger.open_intents()
    assert "pod-1" == ledger.job(tag).platform_id


def test_refused(ledger):
    """A refused submission is a failed job with the platform's reason."""
    tag = ledger.new_tag(CONFIG)
    ledger.record_intent(tag, "runpod", CONFIG)
    ledger.record_refused(tag, "no stock")

    assert (JobStatus.FAILED, "no stock") == (ledger.job(tag).status, ledger.job(tag).reason)
    assert [] == ledger.open_intents()


def test_intent_survives_kill(tmp_path):
    """An intent is on disk before the call returns: kill -9 right after it loses nothing."""
    program = (
        "import os, signal, sys; from pathlib import Path\n"
        "from peft_studio import Ledger, TrainingConfig\n"
        "ledger = Ledger(Path(sys.argv[1])); config = TrainingConfig(base_model='m', dataset_path='d')\n"
        "ledger.record_intent('ps-job-x', 'runpod', config); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "ledger.sqlite3"
    killed = subprocess.run([sys.executable, "-c", program, path], check=False)

    assert -signal.SIGKILL == killed.returncode
    with Ledger(path) as ledger:
        assert ["ps-job-x"] == [intent.job_id for intent in ledger.open_intents()]


def test_many_processes(tmp_path):
    """Processes that write at once all succeed, and nothing is lost."""
    program = (
        "import sys; from pathlib import Path\n"
        "from peft_studio import Ledger, TrainingConfig\n"
        "config = TrainingConfig(base_model='m', dataset_path='d')\n"
        "with Ledger(Path(sys.argv[1])) as ledger:\n"
        "    for _ in range(25):\n"
        "        tag = ledger.new_tag(config)\n"
        "        ledger.record_intent(tag, 'a', config); ledger.record_submitted(tag, tag)\n"
    )
    path = tmp_path / "new" / "ledger.sqlite3"
    writers = [subprocess.Popen([sys.executable, "-c", program, path]) for _ in range(4)]

    assert [0, 0, 0, 0] == [writer.wait() for writer in writers]
    with Ledger(path) as ledger:
        assert 100 == len(ledger.jobs())


@pytest.mark.parametrize("part", [slice(None), slice(0, 10), slice(-4, None)])
def test_find_by_part(ledger, part):
    """A job answers to its id, its beginning or its end, and to the platform's id."""
    tag = submitted(ledger)

    assert tag == ledger.job(tag[part]).id == ledger.job("pod-1").id


def test_ambiguous_and_unknown(ledger):
    """An id that fits several jobs, or none, is refused by name."""
    first, second = submitted(ledger, "pod-1"), submitted(ledger, "pod-2")

    with pytest.raises(JobNotFound, match="'ps-tarn' may be 2 jobs") as caught:
        ledger.job("ps-tarn")
    assert first in str(caught.value)
    assert second in str(caught.value)
    with pytest.raises(JobNotFound, match="no job 'nothing'"):
        ledger.job("nothing")


def test_percent_is_no_wildcard(ledger):
    """An id is compared as text."""
    submitted(ledger)

    with pytest.raises(JobNotFound, match="no job '%'"):
        ledger.job("%")


def test_events_once(ledger):
    """An event that is added twice is there once; the order is that of the sequence numbers."""
    tag = submitted(ledger)
    ledger.add_events(tag, [event(2, message="b"), event(1, message="a")])
    ledger.add_events(tag, [event(2, message="another b"), event(3, message="c")])

    assert ["a", "b", "c"] == [found.data["message"] for found in ledger.events(tag)]
    assert ["c"] == [found.data["message"] for found in ledger.events(tag, after=2)]
    assert 3 == ledger.last_sequence(tag)


def test_state_events_move_the_record(ledger):
    """The newest state decides, also when an older one comes in late."""
    tag = submitted(ledger)
    ledger.add_events(tag, [event(5, "state", status="failed", reason="killed", resumable=True, cost="0.50")])
    ledger.add_events(tag, [event(1, "state", status="running")])
    job = ledger.job(tag)

    assert (JobStatus.FAILED, "killed", True, Decimal("0.50")) == (job.status, job.reason, job.is_resumable, job.cost)


def test_unreachable_is_not_a_status(ledger):
    """A platform that cannot be asked leaves the status alone; the first silence is remembered until it answers."""
    tag = submitted(ledger)
    ledger.add_events(tag, [event(1, "state", status="running")])
    ledger.record_unreachable(tag)
    since = ledger.job(tag).unreachable_since
    while datetime.now(UTC) - since < timedelta(milliseconds=2):
        pass  # the ledger's clock has milliseconds
    ledger.record_unreachable(tag)

    assert (JobStatus.RUNNING, False, since) == (
        ledger.job(tag).status, ledger.job(tag).reachable, ledger.job(tag).unreachable_since,
    )  # fmt: skip
    ledger.record_reachable(tag, JobStatus.RUNNING)
    assert ledger.job(tag).reachable is True


def test_private(tmp_path):
    """Nobody but its owner reads the ledger."""
    with Ledger(tmp_path / "new" / "ledger.sqlite3") as ledger:
        assert 0o600 == ledger.path.stat().st_mode & 0o777


def test_not_a_ledger(tmp_path):
    """A file that is something else is refused by name and left as it is."""
    path = tmp_path / "ledger.sqlite3"
    path.write_bytes(b"not a database, certainly not one" * 100)

    with pytest.raises(PeftStudioError, match="cannot be used: file is not a database"):
        Ledger(path)
    assert path.read_bytes().startswith(b"not a database")


def test_newer_ledger(tmp_path):
    """A ledger of a newer version is not touched."""
    path = tmp_path / "ledger.sqlite3"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()

    with pytest.raises(PeftStudioError, match="was written by a newer peft-studio"):
        Ledger(path)

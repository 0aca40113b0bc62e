"""The ledger over time: which status may follow which, what is overdue, and files of older versions."""

import shutil
import sqlite3
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from peft_studio import JobEvent, JobStatus, Ledger, PeftStudioError, TrainingConfig
from peft_studio.ledger import NextAction, Phase
from peft_studio.ledger.schema import VERSION
from peft_studio.ledger.store import DENIED
from peft_studio.ledger.transitions import is_legal

CONFIG = TrainingConfig(base_model="model", dataset_path="data.jsonl")
VERSION_1 = Path(__file__).parent / "data" / "ledger-version-1.sqlite3"
ALIVE = (JobStatus.PENDING, JobStatus.RUNNING, JobStatus.PAUSED)
OVER = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)


class Clock:
    """Stands still until it is moved."""

    def __init__(self):
        self.now = datetime(2026, 11, 1, tzinfo=UTC)

    def __call__(self):
        return self.now

    def advance(self, **time):
        self.now += timedelta(**time)


@pytest.fixture
def clock():
    """A clock under control."""
    return Clock()


@pytest.fixture
def ledger(tmp_path, clock):
    """An empty ledger with that clock."""
    with Ledger(tmp_path / "ledger.sqlite3", clock=clock) as opened:
        yield opened


def submitted(ledger, tag="ps-job-a", platform_id="pod-1"):
    """Id of a job that the platform took."""
    ledger.record_intent(tag, "runpod", CONFIG)
    ledger.record_submitted(tag, platform_id)
    return tag


def state(sequence, status, time=None, **data):
    """A state event."""
    time = time or datetime(2026, 11, 1, tzinfo=UTC)
    return JobEvent(sequence=sequence, time=time, type="state", data={"status": status, **data})


@pytest.mark.parametrize("before", ALIVE)
@pytest.mark.parametrize("after", JobStatus)
def test_a_job_that_is_alive_may_be_found_in_any_state(before, after):
    """We look now and then: between two looks a job may have gone anywhere."""
    assert is_legal(before, after)


@pytest.mark.parametrize("before", OVER)
@pytest.mark.parametrize("after", JobStatus)
def test_a_job_that_is_over_stays_over(before, after):
    """What has ended does not move; only a failed job goes on, when it is resumed or when it never existed."""
    assert (before is after) == is_legal(before, after)
    assert (before is after or before is JobStatus.FAILED) == is_legal(before, after, is_resumable=True)
    expected = before is after or (before is JobStatus.FAILED and after is JobStatus.PENDING)
    assert expected == is_legal(before, after, is_made=False)


@pytest.mark.parametrize("over", [JobStatus.COMPLETED, JobStatus.CANCELLED])
def test_impossible_news_is_refused_and_noted(ledger, over):
    """A platform that takes back an ending changes nothing; what it said is kept, once."""
    tag = submitted(ledger)
    assert ledger.record_reachable(tag, over)
    for _ in range(3):
        assert not ledger.record_reachable(tag, JobStatus.RUNNING)

    assert over is ledger.job(tag).status
    assert [f"a job that is {over} cannot be running, yet so it was told"] == [n.text for n in ledger.notes(tag)]


def test_impossible_event_is_noted_with_its_words(ledger):
    """The event log is held to the same table, and its reason is kept."""
    tag = submitted(ledger)
    ledger.add_events(tag, [state(1, "completed"), state(2, "failed", reason="disk full")])

    assert JobStatus.COMPLETED is ledger.job(tag).status
    assert "disk full" in ledger.notes(tag)[0].text


def test_a_word_that_is_no_status_is_noted(ledger):
    """An event with an unknown status leaves the job as it was."""
    tag = submitted(ledger)
    ledger.add_events(tag, [state(1, "running"), state(2, "hibernating")])

    assert JobStatus.RUNNING is ledger.job(tag).status
    assert ["event 2 says that the job is 'hibernating'"] == [note.text for note in ledger.notes(tag)]


def test_lost_job_that_was_completed_stays_so(ledger):
    """A platform that forgets a completed job does not make it a failed one."""
    tag = submitted(ledger)
    ledger.record_reachable(tag, JobStatus.COMPLETED)

    assert not ledger.record_lost(tag, "no such job")
    assert JobStatus.COMPLETED is ledger.job(tag).status


def test_resumed_job_goes_on(ledger):
    """A failed job moves again once the platform agreed to resume it, without the reason of its failure."""
    tag = submitted(ledger)
    ledger.add_events(tag, [state(1, "failed", reason="killed")])
    assert not ledger.record_reachable(tag, JobStatus.RUNNING)
    ledger.record_resumed(tag)

    assert ledger.record_reachable(tag, JobStatus.RUNNING)
    assert (JobStatus.RUNNING, None) == (ledger.job(tag).status, ledger.job(tag).reason)


def test_second_job_with_one_tag_is_noted(ledger):
    """The first id stays; the second is told, not adopted."""
    tag = submitted(ledger)
    ledger.record_submitted(tag, "pod-2")

    assert "pod-1" == ledger.job(tag).platform_id
    assert ["the platform has a second job with this tag: pod-2"] == [note.text for note in ledger.notes(tag)]


def test_denied_submission(ledger, clock):
    """A tag that the platform does not know is a failed job; when the job appears after all it is pending."""
    ledger.record_intent("ps-job-a", "runpod", CONFIG)
    ledger.begin("ps-job-a", "cancel")
    assert ledger.record_denied("ps-job-a", clock.now)
    assert (JobStatus.FAILED, DENIED) == (ledger.job("ps-job-a").status, ledger.job("ps-job-a").reason)
    assert [] == ledger.open_intents()

    ledger.record_submitted("ps-job-a", "pod-1")
    job = ledger.job("ps-job-a")
    assert (JobStatus.PENDING, None, "pod-1") == (job.status, job.reason, job.platform_id)
    assert not ledger.record_denied("ps-job-a", clock.now)


def test_denial_is_about_one_submission(ledger, clock):
    """What the platform said of an earlier attempt says nothing of one that waits, or is under way again."""
    first = clock.now
    ledger.record_intent("ps-job-a", "runpod", CONFIG)
    ledger.record_requeued("ps-job-a")
    assert not ledger.record_denied("ps-job-a", first)
    clock.advance(seconds=1)
    ledger.record_intent("ps-job-a", "runpod", CONFIG)
    assert not ledger.record_denied("ps-job-a", first)

    assert JobStatus.PENDING is ledger.job("ps-job-a").status


def test_cancel_is_an_intent(ledger, clock):
    """A cancel is open, and shown with the job, until it is settled; asking twice is one intent."""
    tag = submitted(ledger)
    ledger.begin(tag, "cancel", reason="too dear")
    clock.advance(seconds=5)
    ledger.begin(tag, "cancel")

    assert [("cancel", "too dear")] == [(intent.action, intent.reason) for intent in ledger.open_intents()]
    assert clock.now - timedelta(seconds=5) == ledger.job(tag).cancelling_since
    ledger.settle(tag, "cancel", "confirmed")
    assert ([], None) == (ledger.open_intents(), ledger.job(tag).cancelling_since)


def test_answers_settle_their_own_intent(ledger):
    """The answer to a submission leaves a cancel open, and one teardown leaves the others."""
    ledger.record_intent("ps-job-a", "runpod", CONFIG)
    ledger.begin("ps-job-a", "cancel")
    ledger.begin("ps-job-a", "teardown", target="disk-1")
    ledger.begin("ps-job-a", "teardown", target="disk-2")
    ledger.record_submitted("ps-job-a", "pod-1")
    ledger.settle("ps-job-a", "teardown", "gone", target="disk-1")

    assert [("cancel", None), ("teardown", "disk-2")] == [(i.action, i.target) for i in ledger.open_intents()]


def overdue(ledger):
    """Phase and action of everything that is overdue."""
    return [(found.phase, found.action) for found in ledger.overdue()]


@pytest.mark.parametrize(
    ("phase", "limit", "action"),
    [
        (Phase.SUBMITTING, timedelta(minutes=2), NextAction.FIND),
        (Phase.PENDING, timedelta(minutes=30), NextAction.ASK),
        (Phase.PAUSING, timedelta(minutes=3), NextAction.RETRY),
        (Phase.CANCELLING, timedelta(seconds=30), NextAction.RETRY),
        (Phase.TEARING_DOWN, timedelta(seconds=30), NextAction.RETRY),
    ],
)
def test_every_phase_has_a_deadline(ledger, clock, phase, limit, action):
    """A phase is overdue at its deadline and not before; after a day only the user can help."""
    ledger.record_intent("ps-job-a", "runpod", CONFIG)
    if phase is not Phase.SUBMITTING:
        ledger.record_submitted("ps-job-a", "pod-1")
    actions = {Phase.PAUSING: "pause", Phase.CANCELLING: "cancel", Phase.TEARING_DOWN: "teardown"}
    if phase in actions:
        ledger.record_reachable("ps-job-a", JobStatus.RUNNING)
        ledger.begin("ps-job-a", actions[phase])
    clock.now += limit - timedelta(seconds=1)
    assert [] == overdue(ledger)
    clock.advance(seconds=1)
    assert [(phase, action)] == overdue(ledger)
    clock.advance(hours=24)
    assert [(phase, NextAction.TELL)] == overdue(ledger)


def test_a_phase_begins_with_its_status(ledger, clock):
    """A job that its platform has queued again may wait as long as a fresh one."""
    tag = submitted(ledger)
    ledger.record_reachable(tag, JobStatus.RUNNING)
    clock.advance(hours=2)
    ledger.record_reachable(tag, JobStatus.PENDING)
    clock.advance(minutes=29)
    assert [] == overdue(ledger)
    ledger.record_reachable(tag, JobStatus.PENDING)
    clock.advance(minutes=1)

    assert [(Phase.PENDING, NextAction.ASK)] == overdue(ledger)


def test_queued_and_running_jobs_are_not_overdue(ledger, clock):
    """A submission that waits in the queue, and a job that runs, may take as long as they like."""
    ledger.record_queued("ps-job-q", "runpod", CONFIG)
    ledger.record_reachable(submitted(ledger), JobStatus.RUNNING)
    clock.advance(days=30)

    assert [] == overdue(ledger)


def test_stopwatch(ledger, clock):
    """A job's running time is that between its state events, without its pauses."""
    tag = submitted(ledger)
    start = clock.now
    moments = [("running", 0), ("paused", 60), ("pending", 100), ("running", 200), ("completed", 230)]
    for sequence, (status, seconds) in enumerate(moments, start=1):
        ledger.add_events(tag, [state(sequence, status, start + timedelta(seconds=seconds))])

    assert (90.0, None) == (ledger.job(tag).ran, ledger.job(tag).running_since)


def test_price_is_kept(ledger):
    """A price survives as it was told."""
    tag = submitted(ledger)
    ledger.record_price(tag, Decimal("1.990"), "EUR")

    assert (Decimal("1.990"), "EUR") == (ledger.job(tag).hourly_rate, ledger.job(tag).currency)


@pytest.fixture
def old_file(tmp_path):
    """A copy of a file that version 1 wrote."""
    return Path(shutil.copy(VERSION_1, tmp_path / "ledger.sqlite3"))


def test_version_1_is_brought_forward(old_file):
    """A file of version 1 keeps every job, open intent and event, and does what a new one does."""
    with Ledger(old_file) as ledger:
        statuses = {job.id: job.status for job in ledger.jobs()}
        done = ledger.job("ps-done-aaaaaaaaaa")
        assert {
            "ps-done-aaaaaaaaaa": JobStatus.COMPLETED,
            "ps-lost-bbbbbbbbbb": JobStatus.PENDING,
            "ps-going-cccccccccc": JobStatus.RUNNING,
        } == statuses
        assert (Decimal("1.25"), "pod-done", done.created) == (done.cost, done.platform_id, done.changed)
        assert [("ps-lost-bbbbbbbbbb", "submit")] == [(i.job_id, i.action) for i in ledger.open_intents()]
        assert [1, 2] == [event.sequence for event in ledger.events(done.id)]
        ledger.begin("ps-going-cccccccccc", "teardown", target="pod-going")
        assert not ledger.record_reachable(done.id, JobStatus.RUNNING)
        assert 1 == len(ledger.notes(done.id))


def test_old_and_new_files_end_alike(old_file, tmp_path):
    """Migration leaves the very tables that a new file has."""
    Ledger(old_file).close()
    Ledger(tmp_path / "new.sqlite3").close()

    assert _tables(tmp_path / "new.sqlite3") == _tables(old_file)
    assert VERSION == sqlite3.connect(old_file).execute("PRAGMA user_version").fetchone()[0]


def _tables(path):
    db = sqlite3.connect(path)
    return sorted(db.execute("SELECT type, name, sql FROM sqlite_master").fetchall())


def test_migration_is_all_or_nothing(old_file):
    """A file that cannot be brought forward is left as it was."""
    db = sqlite3.connect(old_file)
    db.execute("CREATE TABLE notes (number INTEGER)")
    db.commit()
    db.close()
    with pytest.raises(PeftStudioError, match="cannot be used: table notes already exists"):
        Ledger(old_file)

    assert 1 == sqlite3.connect(old_file).execute("PRAGMA user_version").fetchone()[0]
    columns = [row[1] for row in sqlite3.connect(old_file).execute("PRAGMA table_info(jobs)")]
    assert "changed" not in columns


def test_a_job_that_is_over_need_not_be_paused(ledger):
    """However it ended while the platform was asked to pause it."""
    tag = submitted(ledger)
    ledger.record_reachable(tag, JobStatus.RUNNING)
    ledger.begin(tag, "pause")
    ledger.record_reachable(tag, JobStatus.COMPLETED)

    assert [] == ledger.open_intents()

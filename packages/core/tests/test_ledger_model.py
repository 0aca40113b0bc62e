"""The ledger against a model of it: whatever is told to it in whatever order, both know the same afterwards."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from attrs import define, field
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from peft_studio import JobEvent, JobStatus, Ledger, TrainingConfig
from peft_studio.ledger import QUEUED

CONFIG = TrainingConfig(base_model="model", dataset_path="data.jsonl")
OVER = {"completed", "failed", "cancelled"}


@define
class Job:
    """What a reasonable person would remember of a job."""

    status: str = "pending"
    platform_id: str | None = None
    queued: bool = False
    resumable: bool = False
    #: Open intents, as action and target.
    open: set[tuple[str, str | None]] = field(factory=set)
    events: int = 0
    #: When it was submitted last.
    written: datetime | None = None

    def told(self, status: str) -> bool:
        """A status arrives; False when it cannot be."""
        if self.status in OVER and status != self.status and not (self.status == "failed" and self.resumable):
            return False
        if status in OVER:
            self.open = {each for each in self.open if each[0] != "cancel"}
        if self.status != status:
            self.queued = False
        self.status = status
        return True


class LedgerModel(RuleBasedStateMachine):
    """A few jobs, a clock, and a file that is closed and opened again."""

    tags = Bundle("tags")
    statuses = st.sampled_from(sorted(JobStatus))

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now = datetime(2026, 11, 1, tzinfo=UTC)
        self.ledger = self.opened()
        self.model: dict[str, Job] = {}

    def opened(self) -> Ledger:
        return Ledger(Path(self.folder.name) / "ledger.sqlite3", clock=lambda: self.now)

    def teardown(self) -> None:
        self.ledger.close()
        self.folder.cleanup()

    @rule()
    def reopen(self) -> None:
        self.ledger.close()
        self.ledger = self.opened()

    @rule(seconds=st.integers(1, 100_000))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(target=tags)
    def submit(self) -> str:
        tag = f"ps-job-{len(self.model)}"
        self.ledger.record_intent(tag, "acme", CONFIG)
        self.model[tag] = Job(open={("submit", None)}, written=self.now)
        return tag

    @rule(target=tags)
    def enqueue(self) -> str:
        tag = f"ps-job-{len(self.model)}"
        self.ledger.record_queued(tag, "acme", CONFIG)
        self.model[tag] = Job(queued=True)
        return tag

    @rule(tag=tags)
    def leave_queue(self, tag: str) -> None:
        job = self.model[tag]
        if job.queued:
            self.ledger.record_intent(tag, "acme", CONFIG)
            job.queued, job.written = False, self.now
            job.open.add(("submit", None))

    @rule(tag=tags, status=st.sampled_from([JobStatus.FAILED, JobStatus.CANCELLED]))
    def withdraw(self, tag: str, status: JobStatus) -> None:
        job = self.model[tag]
        waited = job.queued
        assert waited == self.ledger.record_withdrawn(tag, status, "dropped")
        if waited:
            job.told(status)

    @rule(tag=tags, number=st.integers(1, 2))
    def take(self, tag: str, number: int) -> None:
        job = self.model[tag]
        if job.queued:
            return
        self.ledger.record_submitted(tag, f"{tag}-{number}")
        job.open.discard(("submit", None))
        if job.platform_id is None:
            job.platform_id = f"{tag}-{number}"
            job.status = "pending" if job.status == "failed" else job.status

    @rule(tag=tags, is_old=st.booleans())
    def deny(self, tag: str, is_old: bool) -> None:
        job = self.model[tag]
        written = (job.written or self.now) - timedelta(seconds=is_old)
        is_meant = ("submit", None) in job.open and not is_old
        is_possible = is_meant and job.platform_id is None and job.status in ("pending", "failed")
        assert is_possible == self.ledger.record_denied(tag, written)
        if is_possible:
            job.told("failed")
            job.open, job.queued = set(), False

    @rule(tag=tags)
    def requeue(self, tag: str) -> None:
        job = self.model[tag]
        is_possible = job.platform_id is None and job.status in ("pending", "failed")
        assert is_possible == self.ledger.record_requeued(tag)
        if is_possible:
            job.status, job.queued = "pending", True
            job.open.discard(("submit", None))

    @rule(tag=tags, status=statuses)
    def tell(self, tag: str, status: JobStatus) -> None:
        job = self.model[tag]
        if job.platform_id is not None:
            assert job.told(status) == self.ledger.record_reachable(tag, status)

    @rule(tag=tags, status=statuses, resumable=st.booleans(), again=st.booleans())
    def state_event(self, tag: str, status: JobStatus, resumable: bool, again: bool) -> None:
        job = self.model[tag]
        if job.platform_id is None:
            return
        job.events += 1
        data = {"status": str(status), "resumable": resumable}
        event = JobEvent(sequence=job.events, time=self.now, type="state", data=data)
        for _ in range(1 + again):
            self.ledger.add_events(tag, [event])
        if job.told(status):
            job.resumable = resumable

    @rule(tag=tags)
    def lose(self, tag: str) -> None:
        job = self.model[tag]
        if job.platform_id is not None:
            is_possible = job.told("failed")
            assert is_possible == self.ledger.record_lost(tag, "no such job")
            job.resumable = job.resumable and not is_possible

    @rule(tag=tags)
    def resume(self, tag: str) -> None:
        self.ledger.record_resumed(tag)
        self.model[tag].resumable |= self.model[tag].status == "failed"

    @rule(tag=tags, action=st.sampled_from(["cancel", "teardown"]), rental=st.sampled_from(["pod-1", "pod-2"]))
    def begin(self, tag: str, action: str, rental: str) -> None:
        target = rental if action == "teardown" else None
        self.ledger.begin(tag, action, target=target)
        self.model[tag].open.add((action, target))

    @rule(tag=tags, rental=st.sampled_from(["pod-1", "pod-2"]))
    def settle(self, tag: str, rental: str) -> None:
        self.ledger.settle(tag, "teardown", "gone", target=rental)
        self.model[tag].open.discard(("teardown", rental))

    @rule(tag=tags)
    def silence(self, tag: str) -> None:
        self.ledger.record_unreachable(tag)

    @invariant()
    def both_know_the_same(self) -> None:
        found = {job.id: job for job in self.ledger.jobs()}
        assert set(self.model) == set(found)
        for tag, job in self.model.items():
            known = found[tag]
            assert (job.status, job.platform_id) == (known.status, known.platform_id)
            assert (job.queued, job.resumable) == (known.is_queued, known.is_resumable)
            assert (known.reason == QUEUED) == job.queued
            assert (("cancel", None) in job.open) == (known.cancelling_since is not None)

    @invariant()
    def open_intents_are_those(self) -> None:
        expected = [(tag, *each) for tag, job in self.model.items() for each in job.open]
        found = [(each.job_id, each.action, each.target) for each in self.ledger.open_intents()]
        assert sorted(expected, key=str) == sorted(found, key=str)

    @invariant()
    def what_runs_has_a_stopwatch(self) -> None:
        for job in self.ledger.jobs():
            assert (job.status is JobStatus.RUNNING) == (job.running_since is not None)
            assert job.ran >= 0

    @invariant()
    def what_is_overdue_is_open_or_pending(self) -> None:
        for each in self.ledger.overdue():
            job = self.model[each.job.id]
            assert job.open or (job.status == "pending" and job.platform_id is not None)


TestLedger = LedgerModel.TestCase
TestLedger.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

"""The jobs service with a connector of our own: every event once, whoever else is watching."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from peft_studio import (
    ArtifactNotFound,
    ConnectionFailed,
    ConnectorManager,
    JobEvent,
    JobNotFound,
    JobStatus,
    Ledger,
    PlatformError,
    PricingInfo,
    TrainingConfig,
    TrainingConnector,
)
from peft_studio.jobs import Jobs

CONFIG = TrainingConfig(base_model="model", dataset_path="data.jsonl")


def event(sequence, type="log", **data):
    """An event of now."""
    return JobEvent(sequence=sequence, time=datetime.now(UTC), type=type, data=data)


class Clockwork(TrainingConnector):
    """A platform whose one job says what the test lets it say."""

    name, display_name, description, version = "clockwork", "Clockwork", "A job under control", "1.0"

    said: list[JobEvent]
    is_reachable: bool | None = True
    is_over = False
    is_readable = True
    is_known = True
    tags: dict[str, str]
    asked_after: list[int]

    async def connect(self, credentials):
        return True

    async def disconnect(self):
        return True

    async def submit_job(self, config):
        return "c-1"

    async def get_job_status(self, job_id):
        if self.is_reachable is None:
            return "hibernating"
        if not self.is_reachable:
            raise ConnectionFailed("no route")
        if not self.is_known:
            raise JobNotFound("no such clockwork")
        return JobStatus.COMPLETED if self.is_over else JobStatus.RUNNING

    async def find_job(self, tag):
        return self.tags.get(tag)

    async def cancel_job(self, job_id):
        return True

    async def stream_logs(self, job_id) -> AsyncIterator[str]:
        for said in self.said:
            yield said.data["message"]

    async def stream_events(self, job_id, after=0):
        self.asked_after.append(after)
        if not self.is_readable:
            raise ConnectionFailed("the connection broke")
        for said in list(self.said):
            if said.sequence > after:
                await asyncio.sleep(0)
                yield said

    async def download_artifact(self, job_id, destination):
        raise ArtifactNotFound("nothing yet")

    async def list_resources(self):
        return []

    async def get_pricing(self, resource_id):
        return PricingInfo()


@pytest.fixture
async def service(tmp_path):
    """Jobs, their ledger and the connector behind them."""
    Clockwork.said, Clockwork.asked_after = [event(1, message="a"), event(2, message="b")], []
    Clockwork.is_reachable, Clockwork.is_known, Clockwork.is_over, Clockwork.tags = True, True, False, {}
    Clockwork.is_readable = True
    with Ledger(tmp_path / "ledger.sqlite3") as ledger:
        manager = ConnectorManager(ledger=ledger)
        manager.register_connector(Clockwork)
        async with manager:
            yield Jobs(manager, ledger), ledger


async def told(service, id, after=0):
    """Sequence numbers that a viewer is told."""
    return [found.sequence async for found in service.follow(id, after)]


async def test_follow_copies_and_goes_on(service):
    """A second viewer is told the copy, then only what came after it."""
    jobs, _ = service
    job = await jobs.submit("clockwork", CONFIG)
    assert [1, 2] == await told(jobs, job.id)
    Clockwork.said.append(event(3, message="c"))

    assert [1, 2, 3] == await told(jobs, job.id)
    assert [0, 2] == Clockwork.asked_after


async def test_a_viewer_that_starts_late_leaves_no_hole(service):
    """--after skips events for the viewer, not for the copy."""
    jobs, ledger = service
    job = await jobs.submit("clockwork", CONFIG)

    assert [2] == await told(jobs, job.id, after=1)
    assert [1, 2] == [found.sequence for found in ledger.events(job.id)]


async def test_another_viewer_copies_meanwhile(service):
    """What another viewer adds while this one reads the copy is still told, once."""
    jobs, ledger = service
    job = await jobs.submit("clockwork", CONFIG)
    ledger.add_events(job.id, Clockwork.said)
    Clockwork.said += [event(number, message="x") for number in range(3, 10)]
    seen = []
    async for found in jobs.follow(job.id):
        seen.append(found.sequence)
        ledger.add_events(job.id, Clockwork.said)

    assert list(range(1, 10)) == seen


async def test_unreachable_keeps_the_status(service):
    """A platform that cannot be asked leaves the last known status; the job is not reachable, no more."""
    jobs, _ = service
    job = await jobs.submit("clockwork", CONFIG)
    await jobs.get(job.id)
    Clockwork.is_reachable = False
    job = await jobs.get(job.id)

    assert (JobStatus.RUNNING, False) == (job.status, job.reachable)
    Clockwork.is_reachable = True
    assert (await jobs.get(job.id)).reachable is True


async def test_connector_that_goes_wrong_hides_no_job(service):
    """A connector whose answer makes no sense leaves its job unreachable; the list is told all the same."""
    jobs, _ = service
    job = await jobs.submit("clockwork", CONFIG)
    Clockwork.is_reachable = None
    (listed,) = await jobs.list_jobs()

    assert (job.id, JobStatus.PENDING, False) == (listed.id, listed.status, listed.reachable)


async def test_last_words_are_copied(service):
    """When a job is found to be over, its last events are in the copy before it is told."""
    jobs, ledger = service
    job = await jobs.submit("clockwork", CONFIG)
    Clockwork.said.append(event(3, "state", status="completed"))
    Clockwork.is_over = True

    assert JobStatus.COMPLETED is (await jobs.get(job.id)).status
    assert 3 == ledger.last_sequence(job.id)


async def test_last_words_that_were_lost_are_copied_later(service):
    """A connection that breaks between the end of a job and its log costs nothing but time."""
    jobs, _ = service
    job = await jobs.submit("clockwork", CONFIG)
    Clockwork.is_over, Clockwork.is_readable = True, False

    assert JobStatus.COMPLETED is (await jobs.get(job.id)).status
    assert [] == await told(jobs, job.id)
    Clockwork.is_readable = True
    assert [1, 2] == await told(jobs, job.id)
    before = len(Clockwork.asked_after)
    assert [1, 2] == await told(jobs, job.id)
    assert before == len(Clockwork.asked_after)


async def test_unknown_outcome_is_said(service):
    """A job of which nobody knows whether it reached the platform is neither followed nor cancelled blindly."""
    jobs, ledger = service
    ledger.record_intent("ps-job-lost", "clockwork", CONFIG)

    with pytest.raises(PlatformError, match="it is not known whether job ps-job-lost reached clockwork"):
        await jobs.cancel("ps-job-lost")
    job = await jobs.get("ps-job-lost")
    assert (JobStatus.PENDING, False) == (job.status, job.reachable)


async def test_lost_answer_is_found_by_its_tag(service):
    """A job whose submission was never answered is adopted when the platform knows its tag."""
    jobs, ledger = service
    ledger.record_intent("ps-job-lost", "clockwork", CONFIG)
    Clockwork.tags = {"ps-job-lost": "c-9"}
    job = await jobs.get("ps-job-lost")

    assert ("c-9", JobStatus.RUNNING) == (job.platform_id, job.status)
    assert [] == ledger.open_intents()


async def test_platform_does_not_know_the_job(service):
    """A job that the platform denies is failed with the platform's words; the other jobs are listed all the same."""
    jobs, _ = service
    job = await jobs.submit("clockwork", CONFIG)
    Clockwork.is_known = False

    (listed,) = await jobs.list_jobs()
    assert (job.id, JobStatus.FAILED) == (listed.id, listed.status)
    assert "no such clockwork" in listed.reason


async def test_connector_is_gone(service, tmp_path):
    """Jobs of a connector that was uninstalled stay in the list, unreachable."""
    jobs, ledger = service
    job = await jobs.submit("clockwork", CONFIG)
    async with ConnectorManager(ledger=ledger) as manager:
        (listed,) = await Jobs(manager, ledger).list_jobs()

    assert (job.id, JobStatus.PENDING, False) == (listed.id, listed.status, listed.reachable)


async def test_log_of_a_paused_job_need_not_end(service):
    """A platform that keeps the log of a paused job open holds nobody up; what it has said is copied."""
    _, ledger = service

    async def stream_events(self, job_id, after=0):
        for said in self.said:
            yield said
        await asyncio.Event().wait()

    async def get_job_status(self, job_id):
        return JobStatus.PAUSED

    methods = {"name": "patient", "stream_events": stream_events, "get_job_status": get_job_status}
    async with ConnectorManager(ledger=ledger, connectors=[type("Patient", (Clockwork,), methods)]) as manager:
        job = await Jobs(manager, ledger).submit("patient", CONFIG)
        found = await asyncio.wait_for(Jobs(manager, ledger).get(job.id), 60)

    assert (JobStatus.PAUSED, 2) == (found.status, ledger.last_sequence(job.id))

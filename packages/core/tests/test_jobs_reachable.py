"""Listing jobs of a platform that does not answer: not asked for ever, never mistaken for the end of a job."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from peft_studio import (
    ConnectionFailed,
    ConnectorManager,
    JobNotFound,
    JobStatus,
    Ledger,
    PricingInfo,
    RateLimitError,
    TrainingConfig,
    TrainingConnector,
)
from peft_studio.breaker import COOL_DOWN, FAILURES, Breakers, Circuit
from peft_studio.jobs import Jobs

CONFIG = TrainingConfig(base_model="model", dataset_path="data.jsonl")


class Shaky(TrainingConnector):
    """A platform that may be silent; it counts how often it is asked."""

    name, display_name, description, version = "shaky", "Shaky", "Not always there", "1.0"

    trouble: Exception | None = None
    asked = 0
    submitted = 0

    async def connect(self, credentials):
        return True

    async def disconnect(self):
        return True

    async def submit_job(self, config):
        Shaky.submitted += 1
        return f"s-{Shaky.submitted}"

    async def get_job_status(self, job_id):
        Shaky.asked += 1
        if Shaky.trouble is not None:
            raise Shaky.trouble
        return JobStatus.RUNNING

    async def cancel_job(self, job_id):
        return True

    async def stream_logs(self, job_id) -> AsyncIterator[str]:
        yield "line"

    async def download_artifact(self, job_id, destination):
        return destination

    async def list_resources(self):
        return []

    async def get_pricing(self, resource_id):
        return PricingInfo()


@pytest.fixture
async def jobs(tmp_path: Path) -> AsyncIterator[Jobs]:
    """One job on a platform that has fallen silent."""
    Shaky.trouble, Shaky.asked, Shaky.submitted = None, 0, 0
    with Ledger(tmp_path / "ledger.sqlite3") as ledger:
        async with ConnectorManager(ledger=ledger, connectors=[Shaky], discover=False) as manager:
            service = Jobs(manager, ledger)
            await service.submit("shaky", CONFIG)
            Shaky.trouble = ConnectionFailed("no route")
            yield service


async def listed(jobs: Jobs, times: int = 1) -> list[Any]:
    """What the last of so many lists shows of the job, and how often the platform has been asked by then."""
    for _ in range(times):
        (job,) = await jobs.list_jobs()
    return [job.status, job.reachable, Shaky.asked]


async def test_a_silent_platform_is_left_alone_after_a_few_lists(jobs: Jobs) -> None:
    """Its jobs are unreachable and otherwise as they were last known."""
    assert [JobStatus.PENDING, False, FAILURES] == await listed(jobs, FAILURES + 5)
    assert Circuit.OPEN is Breakers().circuit("shaky")


async def test_many_jobs_of_a_silent_platform_are_asked_about_a_few_times(jobs: Jobs) -> None:
    """Each question may take minutes."""
    for _ in range(FAILURES + 5):
        await jobs.submit("shaky", CONFIG)

    assert {False} == {job.reachable for job in await jobs.list_jobs()}
    assert FAILURES == Shaky.asked


async def test_what_another_process_found_out_counts(jobs: Jobs) -> None:
    """The first list of this one does not ask, and says so of a job that it never asked about."""
    for _ in range(FAILURES):
        Breakers().failed("shaky")

    assert [JobStatus.PENDING, False, 0] == await listed(jobs)


async def test_a_job_that_is_named_is_always_asked_about(jobs: Jobs) -> None:
    """And an answer ends the silence for the lists too."""
    await listed(jobs, FAILURES)
    Shaky.trouble = None
    (job,) = await jobs.list_jobs()
    assert FAILURES == Shaky.asked

    assert JobStatus.RUNNING is (await jobs.get(job.id)).status
    assert [JobStatus.RUNNING, True, FAILURES + 2] == await listed(jobs)


async def test_after_the_cool_down_a_list_asks_again(jobs: Jobs) -> None:
    """Once; the answer is taken for all jobs."""
    await jobs.submit("shaky", CONFIG)
    await jobs.list_jobs()
    await jobs.list_jobs()
    asked, Shaky.trouble = Shaky.asked, None
    clock = Breakers()
    jobs._breakers.now = lambda: clock.now() + COOL_DOWN

    assert [True, True] == [job.reachable for job in await jobs.list_jobs()]
    assert asked + 2 == Shaky.asked


@pytest.mark.parametrize("trouble", [RateLimitError("slowly"), JobNotFound("which?")])
async def test_a_refusal_opens_no_breaker(jobs: Jobs, trouble: Exception) -> None:
    """The platform is there."""
    await listed(jobs, FAILURES - 1)
    Shaky.trouble = trouble
    await listed(jobs, FAILURES)

    assert Breakers().since("shaky") is None

"""What a job needs is brought to it after the submission: by whoever comes, once, and nothing of it twice."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peft_studio import ConnectionFailed, JobNotFound, JobStatus, PlatformError, TrainingConfig
from peft_studio.session import Session
from peft_studio_testkit.compliance.check import group
from peft_studio_testkit.compliance.checks.submission import TAG, feed
from peft_studio_testkit.compliance.expect import equal, expect, outcome, refused
from peft_studio_testkit.compliance.subject import Subject

check = group(__name__, feature="training")

_OFFERS = ("feed_job",)
#: Longer than any machine takes to come up, seconds.
_LONG = 7200.0


async def _unfed(subject: Subject, session: Session, config: TrainingConfig | None = None) -> str:
    """The id of a job that was submitted, and nothing more."""
    config = config or subject.sandbox.training_config(tag=TAG)
    return str(await session.ask("submit_job", str, config=config))


@check(offers=_OFFERS)
async def unfed_job_waits(subject: Subject) -> None:
    """A job that was not fed is pending, however long it waits."""
    async with subject.connected() as session:
        id = await _unfed(subject, session)
        subject.sandbox.advance(_LONG)
        equal(JobStatus.PENDING, await session.status(id), "the status of a job that was not fed")


@check(offers=_OFFERS)
async def unfed_job_can_be_cancelled(subject: Subject) -> None:
    """A job that was never fed can be cancelled, by whoever knows its id: cancel_job answers True, and it is over."""
    async with subject.connected() as session:
        id = await _unfed(subject, session)
    async with subject.connected() as session:
        equal(True, await session.call("cancel_job", job_id=id), "cancel_job of a job that was not fed")
        answer = await outcome(session.status(id))
    is_over = answer is JobStatus.CANCELLED or isinstance(answer, JobNotFound)
    expect(is_over, f"after cancel_job the job that was not fed is {answer!r}")
    expect(subject.sandbox.jobs[id].status.is_terminal, f"at the platform it is {subject.sandbox.jobs[id].status}")


@check(offers=_OFFERS)
async def fed_twice_is_fed_once(subject: Subject) -> None:
    """Feeding a job again, also while it runs and when it is done, changes nothing."""
    config = subject.sandbox.training_config(tag=TAG)
    async with subject.connected() as session:
        id = await _unfed(subject, session, config)
        for status in (JobStatus.PENDING, JobStatus.RUNNING, JobStatus.COMPLETED):
            for _ in range(2):
                await feed(session, id, config)
            subject.sandbox.advance_until(id, status)
            equal(status, await session.status(id), "the status of a job that was fed several times")
    equal(1, len(subject.sandbox.jobs), "the number of jobs")


@check(offers=_OFFERS)
async def anybody_may_feed(subject: Subject) -> None:
    """An instance that knows nothing of the submission can feed the job."""
    config = subject.sandbox.training_config(tag=TAG)
    async with subject.connected() as session:
        id = await _unfed(subject, session, config)
    async with subject.connected() as session:
        await feed(session, id, config)
        subject.sandbox.advance_until(id, JobStatus.RUNNING)
        equal(JobStatus.RUNNING, await session.status(id), "the status of a job that another instance has fed")


@check(offers=_OFFERS)
async def unknown_job_is_not_fed(subject: Subject) -> None:
    """Feeding a job that the platform does not know raises JobNotFound or PlatformError."""
    async with subject.connected() as session:
        call = feed(session, "no-such-job", subject.sandbox.training_config())
        await refused(call, (JobNotFound, PlatformError), "feed_job of an unknown job")


@check(offers=_OFFERS, network=True)
async def feeding_without_an_answer(subject: Subject) -> None:
    """When the platform cannot be asked feed_job raises ConnectionFailed, which says: try again; and again it works."""
    config = subject.sandbox.training_config(tag=TAG)
    async with subject.connected() as session:
        id = await _unfed(subject, session, config)
        subject.http.faults.add("reset_before", times=None)
        await refused(feed(session, id, config), ConnectionFailed, "feed_job of a silent platform")
        subject.http.faults.clear()
        await feed(session, id, config)
        subject.sandbox.advance_until(id, JobStatus.RUNNING)


@check(offers=_OFFERS, network=True)
async def upload_is_not_repeated(subject: Subject) -> None:
    """When the answer to an upload is lost, what has arrived is not sent again, by this call or by the next one."""
    method, path = subject.http.file_upload
    with _dataset() as dataset:
        config = subject.sandbox.training_config(tag=TAG, dataset_path=str(dataset))
        async with subject.connected() as session:
            fault = subject.http.faults.add("reset_after", method=method, path=path)
            id = await _unfed(subject, session, config)
            if isinstance(await outcome(feed(session, id, config)), ConnectionFailed):
                await feed(session, id, config)
            subject.sandbox.advance_until(id, JobStatus.RUNNING)
        size = dataset.stat().st_size
    expect(fault.hits, f"no upload came to a path like {path!r}: nothing was cut")
    uploads = [each for each in subject.http.requests if each.method == method and re.search(path, each.path)]
    sent = sum(each.size for each in uploads)
    expect(sent < 2 * size, f"{sent} bytes were uploaded of a dataset of {size}")


@contextmanager
def _dataset() -> Iterator[Path]:
    """One that is large enough to be seen among other uploads."""
    row: dict[str, Any] = {"prompt": "What is the capital of Peru?", "completion": "Lima. " * 100}
    with tempfile.TemporaryDirectory(prefix="peft-studio-check-") as folder:
        path = Path(folder) / "examples.jsonl"
        path.write_text(f"{json.dumps(row)}\n" * 400, encoding="utf-8")
        yield path

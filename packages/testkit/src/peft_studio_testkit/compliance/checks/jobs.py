"""The life of a job as it is told: by the platform, or not at all."""

from __future__ import annotations

from typing import Any

from peft_studio import (
    ConnectionFailed,
    InvalidCredentials,
    JobNotFound,
    JobStatus,
    PlatformError,
    RateLimitError,
)
from peft_studio_testkit.compliance.check import group
from peft_studio_testkit.compliance.checks.submission import submit
from peft_studio_testkit.compliance.expect import collected, equal, expect, outcome, refused, shown
from peft_studio_testkit.compliance.probe import nothing_open
from peft_studio_testkit.compliance.subject import Subject

check = group(__name__, feature="training")


@check()
async def status_follows_the_job(subject: Subject) -> None:
    """get_job_status tells running while the job runs, and completed when it is done."""
    async with subject.connected() as session:
        id = await submit(subject, session)
        subject.sandbox.advance_until(id, JobStatus.RUNNING)
        equal(JobStatus.RUNNING, await session.status(id), "the status of a running job")
        subject.sandbox.advance_until(id, JobStatus.COMPLETED)
        equal(JobStatus.COMPLETED, await session.status(id), "the status of a job that is done")


@check()
async def waiting_job_is_pending(subject: Subject) -> None:
    """A job that the platform has not started yet is pending."""
    subject.sandbox.script(pending_seconds=60)
    async with subject.connected() as session:
        id = await submit(subject, session)
        equal(JobStatus.PENDING, await session.status(id), "the status of a waiting job")


@check()
async def failed_job_is_failed(subject: Subject) -> None:
    """A job that went wrong is failed."""
    subject.sandbox.script(fails="CUDA out of memory")
    async with subject.connected() as session:
        id = await submit(subject, session)
        subject.sandbox.advance_until(id, JobStatus.FAILED)
        equal(JobStatus.FAILED, await session.status(id), "the status of a failed job")


@check()
async def unknown_job_is_not_found(subject: Subject) -> None:
    """get_job_status of a job that the platform does not know raises JobNotFound."""
    async with subject.connected() as session:
        await refused(session.status("no-such-job"), JobNotFound, "the status of an unknown job")


@check()
async def ids_stay_in_their_place(subject: Subject) -> None:
    """An id with slashes, dots or marks is one id: it leads to no other job, and to no other address."""
    async with subject.connected() as session:
        known = await submit(subject, session)
        for id in (f"x/../{known}", f"./{known}", f"{known}?x=1", f"{known}#x", "%2e%2e", "a b"):
            await refused(session.status(id), (JobNotFound, PlatformError), f"the status of {id!r}")


@check(network=True)
async def no_status_from_a_reset(subject: Subject) -> None:
    """A platform that breaks the connection has told no status: ConnectionFailed."""
    await _no_status(subject, ConnectionFailed, "reset_before")


@check(network=True)
async def no_status_from_silence(subject: Subject) -> None:
    """A platform that does not answer has told no status: ConnectionFailed."""
    with subject.environment(PEFT_STUDIO_HTTP_TIMEOUT="0.5", PEFT_STUDIO_HTTP_RETRIES="0"):
        await _no_status(subject, ConnectionFailed, "timeout")


@check(network=True)
async def no_status_from_a_failing_server(subject: Subject) -> None:
    """A 500 answer tells no status: ConnectionFailed."""
    await _no_status(subject, ConnectionFailed, "status", code=500, body=subject.http.error_body("oops"))


@check(network=True)
async def no_status_from_garbage(subject: Subject) -> None:
    """An answer that cannot be read tells no status: ConnectionFailed."""
    await _no_status(subject, ConnectionFailed, "garbage")


@check(network=True)
async def no_status_from_a_refusal(subject: Subject) -> None:
    """A 401 answer tells no status: InvalidCredentials."""
    await _no_status(subject, InvalidCredentials, "status", code=401, body=subject.http.error_body("who are you"))


@check(network=True)
async def no_status_from_a_limit(subject: Subject) -> None:
    """A 429 answer tells no status: RateLimitError."""
    body = subject.http.error_body("slow down")
    await _no_status(subject, RateLimitError, "status", code=429, body=body, headers={"Retry-After": "60"})


@check(network=True)
async def unknown_word_is_no_status(subject: Subject) -> None:
    """A status that the platform has only lately invented is an error that quotes it, not a guess."""
    async with subject.connected() as session:
        id = await submit(subject, session)
        subject.sandbox.jobs[id].word = "HIBERNATING"
        error = await refused(session.status(id), (ConnectionFailed, PlatformError), "an unknown status")
    expect("HIBERNATING" in str(error), f"the error does not quote the platform's word: {error}")


@check()
async def cancel_stops_the_job(subject: Subject) -> None:
    """cancel_job answers True, and the job is cancelled at the platform and in get_job_status."""
    async with subject.connected() as session:
        id = await submit(subject, session)
        subject.sandbox.advance_until(id, JobStatus.RUNNING)
        equal(True, await session.call("cancel_job", job_id=id), "cancel_job")
        equal(JobStatus.CANCELLED, subject.sandbox.jobs[id].status, "the job at the platform")
        equal(JobStatus.CANCELLED, await session.status(id), "the status of a cancelled job")


@check()
async def cancel_of_a_waiting_job(subject: Subject) -> None:
    """A job that has not started yet can be cancelled."""
    subject.sandbox.script(pending_seconds=60)
    async with subject.connected() as session:
        id = await submit(subject, session)
        equal(True, await session.call("cancel_job", job_id=id), "cancel_job of a waiting job")
        equal(JobStatus.CANCELLED, await session.status(id), "the status of a cancelled job")


@check()
async def cancel_twice(subject: Subject) -> None:
    """Cancelling again answers True: the job is stopped."""
    async with subject.connected() as session:
        id = await submit(subject, session)
        subject.sandbox.advance_until(id, JobStatus.RUNNING)
        await session.call("cancel_job", job_id=id)
        equal(True, await session.call("cancel_job", job_id=id), "cancel_job of a cancelled job")


@check()
async def cancel_after_the_end(subject: Subject) -> None:
    """Cancelling a job that is done answers True and changes nothing: it stays completed."""
    async with subject.connected() as session:
        id = await submit(subject, session)
        subject.sandbox.advance_until(id, JobStatus.COMPLETED)
        equal(True, await session.call("cancel_job", job_id=id), "cancel_job of a job that is done")
        equal(JobStatus.COMPLETED, await session.status(id), "its status afterwards")


@check()
async def cancel_of_an_unknown_job(subject: Subject) -> None:
    """Cancelling a job that the platform does not know raises JobNotFound."""
    async with subject.connected() as session:
        await refused(session.call("cancel_job", job_id="no-such-job"), JobNotFound, "cancel_job of an unknown job")


@check(network=True)
async def cancel_without_an_answer(subject: Subject) -> None:
    """When the platform cannot be asked cancel_job raises ConnectionFailed: the job may be running, and costing."""
    async with subject.connected() as session:
        id = await submit(subject, session)
        subject.http.faults.add("reset_before", times=None)
        await refused(session.call("cancel_job", job_id=id), ConnectionFailed, "cancel_job of a silent platform")
        subject.http.faults.clear()


@check()
async def jobs_do_not_mix(subject: Subject) -> None:
    """Cancelling one job leaves the others as they are."""
    async with subject.connected() as session:
        first, second = [await submit(subject, session) for _ in range(2)]
        for id in (first, second):
            subject.sandbox.advance_until(id, JobStatus.RUNNING)
        await session.call("cancel_job", job_id=first)
        status = await session.status(second)
        await session.call("cancel_job", job_id=second)
    equal(JobStatus.RUNNING, status, "the status of another job after one was cancelled")


@check(offers=("pause_job", "resume_job"))
async def pause_and_resume(subject: Subject) -> None:
    """A paused job is paused; resumed, it runs and is completed."""
    async with subject.connected() as session:
        id = await submit(subject, session)
        subject.sandbox.advance_until(id, JobStatus.RUNNING)
        equal(True, await session.call("pause_job", job_id=id), "pause_job")
        equal(JobStatus.PAUSED, await session.status(id), "the status of a paused job")
        equal(True, await session.call("resume_job", job_id=id), "resume_job")
        subject.sandbox.advance_until(id, JobStatus.COMPLETED)
        equal(JobStatus.COMPLETED, await session.status(id), "its status at the end")


@check(offers=("pause_job",))
async def pause_after_the_end(subject: Subject) -> None:
    """Pausing a job that is done is refused in the platform's or our words; it stays completed."""
    async with subject.connected() as session:
        id = await submit(subject, session)
        subject.sandbox.advance_until(id, JobStatus.COMPLETED)
        await refused(session.call("pause_job", job_id=id), PlatformError, "pause_job of a job that is done")
        equal(JobStatus.COMPLETED, await session.status(id), "its status afterwards")


@check(network=True)
async def job_leaves_nothing_open(subject: Subject) -> None:
    """After a job was submitted, watched to its end and fetched, disconnect leaves no connection open."""
    async with subject.connected() as session:
        id = await submit(subject, session)
        subject.sandbox.advance_until(id, JobStatus.COMPLETED)
        await session.status(id)
        await collected(session.stream("stream_logs", job_id=id))
        await session.ask("fetch_artifact", bytes, job_id=id)
    await nothing_open(subject)


@check(offers=("get_metrics",))
async def metrics_are_in_order(subject: Subject) -> None:
    """get_metrics of a job gives rows with a step, oldest first, each row a mapping of plain values."""
    async with subject.connected() as session:
        id = await submit(subject, session)
        subject.sandbox.advance_until(id, JobStatus.COMPLETED)
        rows: list[Any] = await session.ask("get_metrics", list, job_id=id)
    expect(rows, "a job that is done has no metrics")
    steps = [row["step"] for row in rows if "step" in row]
    expect(len(steps) == len(rows), f"rows without a step: {shown(rows)}")
    equal(sorted(steps), steps, "the order of the steps")


async def _no_status(subject: Subject, kind: type, fault: str, **how: Any) -> None:
    """Whether it is so for the first request or, of a connector that asks for more than one thing, for the second."""
    async with subject.connected() as session:
        id = await submit(subject, session)
        for passing in (0, 1):
            struck = subject.http.faults.add(fault, times=None, after=passing, **how)
            answer = await outcome(session.status(id))
            subject.http.faults.clear()
            is_right = isinstance(answer, kind) or (passing and not struck.hits)
            expect(is_right, f"get_job_status gave {shown(answer)} instead of raising {kind.__name__}")

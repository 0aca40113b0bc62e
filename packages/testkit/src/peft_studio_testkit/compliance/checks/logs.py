"""Log lines: from the first to the last, each once, whatever happens to the connection."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from typing import Any

from peft_studio import ConnectionFailed, JobEvent, JobNotFound, JobStatus
from peft_studio.session import Session
from peft_studio_testkit.compliance.check import group
from peft_studio_testkit.compliance.checks.submission import submit
from peft_studio_testkit.compliance.expect import collected, equal, expect, first, outcome, refused, shown, within
from peft_studio_testkit.compliance.probe import settles
from peft_studio_testkit.compliance.subject import Subject

check = group(__name__, feature="training")

LINES = [f"step {number} loss {4 / (number + 1):.4f}" for number in range(12)]


async def _finished(subject: Subject, session: Session, **script: Any) -> str:
    """The id of a job that is done."""
    if script:
        subject.sandbox.script(**script)
    id = await submit(subject, session)
    subject.sandbox.advance_until(id, JobStatus.FAILED if "fails" in script else JobStatus.COMPLETED)
    return id


async def _lines(session: Session, id: str) -> list[Any]:
    return await collected(session.stream("stream_logs", job_id=id))


@check()
async def logs_are_lines(subject: Subject) -> None:
    """stream_logs gives texts, each one line without its line break."""
    async with subject.connected() as session:
        lines = await _lines(session, await _finished(subject, session))
    expect(lines, "a job that is done has no log lines")
    wrong = [line for line in lines if not isinstance(line, str) or line.endswith(("\n", "\r"))]
    expect(not wrong, f"stream_logs gave {shown(wrong[:1])}")


@check()
async def logs_are_complete(subject: Subject) -> None:
    """stream_logs gives every line that the platform has, in order, from the first one."""
    async with subject.connected() as session:
        id = await _finished(subject, session)
        equal(list(subject.sandbox.jobs[id].lines), await _lines(session, id), "the log of a job that is done")


@check()
async def logs_end_with_the_job(subject: Subject) -> None:
    """Followed from the start, stream_logs waits for lines while the job runs, and ends when it ends."""
    if subject.is_remote:
        subject.sandbox.script(lines=LINES)
    async with subject.connected() as session:
        id = await submit(subject, session)
        reader = asyncio.ensure_future(_lines(session, id))
        await _is_read(subject)
        await asyncio.to_thread(subject.sandbox.advance_until, id, JobStatus.COMPLETED)
        lines = await within(10, reader, "stream_logs of a job that is done")
        equal(list(subject.sandbox.jobs[id].lines), lines, "the log that was followed")


@check()
async def logs_do_not_end_early(subject: Subject) -> None:
    """While the job runs stream_logs goes on, also when there is nothing new to say."""
    subject.sandbox.script(running_seconds=1000)
    async with subject.connected() as session:
        id = await submit(subject, session)
        subject.sandbox.advance_until(id, JobStatus.RUNNING)
        reader = asyncio.ensure_future(_lines(session, id))
        ended, _ = await asyncio.wait([reader], timeout=0.5)
        reader.cancel()
        await asyncio.wait([reader])
        expect(not ended, "stream_logs ended while the job was running")


@check()
async def logs_of_a_failed_job(subject: Subject) -> None:
    """The lines of a job that failed are all there, and the stream ends."""
    async with subject.connected() as session:
        id = await _finished(subject, session, fails="CUDA out of memory", lines=LINES)
        equal(list(subject.sandbox.jobs[id].lines), await _lines(session, id), "the log of a failed job")


@check()
async def logs_of_a_cancelled_job(subject: Subject) -> None:
    """stream_logs ends when the job is cancelled."""
    subject.sandbox.script(running_seconds=1000)
    async with subject.connected() as session:
        id = await submit(subject, session)
        subject.sandbox.advance_until(id, JobStatus.RUNNING)
        reader = asyncio.ensure_future(_lines(session, id))
        await _is_read(subject)
        try:
            await session.call("cancel_job", job_id=id)
            await within(10, reader, "stream_logs of a cancelled job")
        finally:
            reader.cancel()


@check()
async def logs_of_an_unknown_job(subject: Subject) -> None:
    """stream_logs of a job that the platform does not know raises JobNotFound."""
    async with subject.connected() as session:
        await refused(_lines(session, "no-such-job"), JobNotFound, "stream_logs of an unknown job")


@check()
async def logs_keep_unicode(subject: Subject) -> None:
    """Lines keep their letters, their blanks, and are still there when they are empty."""
    lines = ["  Verlust 0,3 – gut", "损失 0.3 🎉", "", "\ttab", "data: event: id: 7"]
    async with subject.connected() as session:
        equal(lines, await _lines(session, await _finished(subject, session, lines=lines)), "the log")


@check()
async def logs_keep_long_lines(subject: Subject) -> None:
    """A line of 100,000 characters is one line."""
    lines = ["before", "x" * 100_000, "after"]
    async with subject.connected() as session:
        found = await _lines(session, await _finished(subject, session, lines=lines))
    equal([len(line) for line in lines], [len(line) for line in found], "the lengths of the lines")


@check()
async def logs_of_many_lines(subject: Subject) -> None:
    """Three thousand lines arrive complete and in order."""
    lines = [f"line {number}" for number in range(3000)]
    async with subject.connected() as session:
        found = await _lines(session, await _finished(subject, session, lines=lines))
    expect(lines == found, f"{len(found)} of 3000 lines arrived, or not in order")


@check()
async def logs_of_a_silent_job(subject: Subject) -> None:
    """A job without a word has no lines; that is not an error."""
    async with subject.connected() as session:
        equal([], await _lines(session, await _finished(subject, session, lines=[])), "the log of a silent job")


@check(network=True)
async def logs_survive_a_cut(subject: Subject) -> None:
    """When the connection is cut in the middle the stream goes on where it was: no line lost, none twice."""
    await _survives(subject, times=1)


@check(network=True)
async def logs_survive_many_cuts(subject: Subject) -> None:
    """Connections that are cut again and again make no difference as long as each brings something."""
    await _survives(subject, times=5, streams_only=True)  # of a whole answer a half brings nothing


@check(network=True)
async def logs_survive_silence(subject: Subject) -> None:
    """A connection on which nothing comes any more, though it is open, is given up and made again."""
    with subject.environment(PEFT_STUDIO_HTTP_TIMEOUT="0.5"):
        async with subject.connected() as session:
            id = await _finished(subject, session, lines=LINES)
            subject.http.faults.add("half_open", path=subject.http.log_stream, times=1, events=2)
            equal(LINES, await within(10, _lines(session, id), "stream_logs"), "the log over a silent connection")


@check(network=True)
async def lost_logs_are_an_error(subject: Subject) -> None:
    """When the rest of the log cannot be had stream_logs raises ConnectionFailed; it does not simply end."""
    async with subject.connected() as session:
        id = await _finished(subject, session, lines=LINES)
        path = subject.http.log_stream
        subject.http.faults.add("drop_after", path=path, times=1, events=3)
        subject.http.faults.add("status", path=path, code=503, body=subject.http.error_body("maintenance"), times=None)
        answer = await outcome(_lines(session, id))
    is_whole = answer == LINES  # it came in one answer, so that there was no rest to lose
    expect(
        is_whole or isinstance(answer, ConnectionFailed), f"stream_logs of which the rest is lost gave {shown(answer)}"
    )


@check(network=True)
async def refused_logs_are_an_error(subject: Subject) -> None:
    """When the log cannot be had at all stream_logs raises ConnectionFailed; an empty log would be a lie."""
    async with subject.connected() as session:
        id = await _finished(subject, session, lines=LINES)
        subject.http.faults.add("reset_before", times=None)
        await refused(_lines(session, id), ConnectionFailed, "stream_logs of a platform that is down")


@check(network=True)
async def reader_may_leave(subject: Subject) -> None:
    """Whoever stops reading gets rid of the connection at once; the next reader begins at the first line."""
    subject.sandbox.script(running_seconds=1000, lines=LINES)
    async with subject.connected() as session:
        id = await submit(subject, session)
        subject.sandbox.advance(900)
        equal(LINES[:1], await first(session.stream("stream_logs", job_id=id)), "the first line")
        idle = subject.http.open_streams
        expect(await settles(lambda: subject.http.open_streams == 0), f"{idle} stream(s) stayed open")
        equal(LINES[:2], await first(session.stream("stream_logs", job_id=id), 2), "the first lines, read again")


@check()
async def two_readers(subject: Subject) -> None:
    """Two readers of one log both get all of it."""
    async with subject.connected() as session:
        id = await _finished(subject, session)
        one, two = await asyncio.gather(_lines(session, id), _lines(session, id))
    equal(one, two, "what the second reader got")


@check(offers=("stream_events",))
async def events_are_numbered(subject: Subject) -> None:
    """stream_events gives JobEvent with sequence 1, 2, 3, …, and ends when the job ends."""
    async with subject.connected() as session:
        events = await collected(session.stream("stream_events", job_id=await _finished(subject, session)))
    expect(all(isinstance(event, JobEvent) for event in events), f"stream_events gave {shown(events[:1])}")
    equal(list(range(1, len(events) + 1)), [event.sequence for event in events], "the sequence numbers")


@check(offers=("stream_events",))
async def events_go_on_after(subject: Subject) -> None:
    """stream_events after a sequence number gives exactly what came later."""
    async with subject.connected() as session:
        id = await _finished(subject, session)
        events = await collected(session.stream("stream_events", job_id=id))
        async with aclosing(session.stream("stream_events", job_id=id, after=2)) as later:
            equal(
                [event.sequence for event in events[2:]], [event.sequence async for event in later], "what came after 2"
            )


async def _survives(subject: Subject, times: int, **how: Any) -> None:
    async with subject.connected() as session:
        id = await _finished(subject, session, lines=LINES)
        fault = subject.http.faults.add("drop_after", path=subject.http.log_stream, times=times, events=2, **how)
        equal(LINES, await _lines(session, id), f"the log after {times} cut(s)")
    expect(fault.hits, f"no request for the log came to a path like {subject.http.log_stream!r}: nothing was cut")


async def _is_read(subject: Subject) -> None:
    """Wait until somebody asks for the log from now on, or could have."""
    if subject.is_remote:
        seen = len(subject.http.requests)
        pattern = subject.http.log_stream
        await settles(lambda: any(re.search(pattern, each.path) for each in subject.http.requests[seen:]))
    else:
        await asyncio.sleep(0.1)

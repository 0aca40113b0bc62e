"""Many calls at once, calls that are given up, and an event loop that belongs to others too."""

from __future__ import annotations

import asyncio
import time

from peft_studio_testkit.compliance.check import group
from peft_studio_testkit.compliance.expect import equal, expect, outcome, shown
from peft_studio_testkit.compliance.probe import nothing_open, probe, settles
from peft_studio_testkit.compliance.subject import Subject

check = group(__name__, network=True)

#: How long the platform takes for its answer, seconds: much longer than a busy machine takes for a turn of the loop.
_DELAY = 0.6


@check()
async def calls_at_once(subject: Subject) -> None:
    """Twenty calls at once give twenty right answers."""
    async with subject.connected() as session:
        expected = await probe(subject, session)
        answers = await asyncio.gather(*(outcome(probe(subject, session)) for _ in range(20)))
    for answer in answers:
        equal(expected, answer, "one of twenty answers at once")


@check()
async def event_loop_stays_free(subject: Subject) -> None:
    """While the platform takes its time, other tasks of the event loop go on."""
    async with subject.connected() as session:
        subject.http.faults.add("delay", seconds=_DELAY, times=None)
        call = asyncio.ensure_future(outcome(probe(subject, session)))
        longest, last = 0.0, time.monotonic()
        while not call.done():
            await asyncio.sleep(0.01)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
        await call
    sentence = f"nothing else ran for {longest:.1f} s while the platform was asked"
    expect(longest < _DELAY, f"{sentence}: block nothing, or use asyncio.to_thread")


@check()
async def cancelled_call_leaves_nothing_open(subject: Subject) -> None:
    """A call that is cancelled ends at once as cancelled; after disconnect no connection is open."""
    async with subject.connected() as session:
        subject.http.faults.add("timeout", times=None)
        before = len(subject.http.requests)
        call = asyncio.ensure_future(probe(subject, session))
        await settles(lambda: len(subject.http.requests) > before)
        call.cancel()
        done, _ = await asyncio.wait([call], timeout=3)
        expect(done and call.cancelled(), f"a cancelled call went on, or swallowed its cancellation: {shown(call)}")
        subject.http.faults.clear()
    await nothing_open(subject)


@check()
async def instance_survives_a_cancelled_call(subject: Subject) -> None:
    """After a call was cancelled the next one works."""
    async with subject.connected() as session:
        expected = await probe(subject, session)
        subject.http.faults.add("timeout", times=1)
        call = asyncio.ensure_future(probe(subject, session))
        await asyncio.sleep(0.05)
        call.cancel()
        await asyncio.wait([call], timeout=3)
        subject.http.faults.clear()
        equal(expected, await outcome(probe(subject, session)), "the answer after a cancelled call")

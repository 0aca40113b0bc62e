"""Runs at a tracker: every number once, in order, as it was."""

from __future__ import annotations

from typing import Any

from peft_studio import ConnectionFailed, JobNotFound, JobStatus, PeftStudioError, PlatformError
from peft_studio.session import Session
from peft_studio_testkit.compliance.check import group
from peft_studio_testkit.compliance.checks.artifacts import FILES, folder
from peft_studio_testkit.compliance.checks.registry import adapter
from peft_studio_testkit.compliance.expect import equal, expect, outcome, refused, shown
from peft_studio_testkit.compliance.subject import Subject

check = group(__name__, feature="tracking")

#: More than a page holds at the usual trackers.
_STEPS = 120
CONFIG = {"rank": 8, "learning_rate": 2e-4, "project_name": "Grüße 世界", "base_model": "base"}


async def _run(session: Session) -> str:
    return str(await session.ask("start_run", str, config=CONFIG))


async def _log(session: Session, id: str, step: int, **values: float) -> None:
    await session.call("log_metrics", run_id=id, metrics=values, step=step)


@check()
async def run_has_an_id(subject: Subject) -> None:
    """start_run answers the tracker's id of the run."""
    async with subject.connected() as session:
        id = await session.call("start_run", config=CONFIG)
    expect(isinstance(id, str) and id in subject.sandbox.runs, f"start_run answered {shown(id)}")


@check()
async def run_has_the_config(subject: Subject) -> None:
    """The config arrives with the run, texts in all letters."""
    async with subject.connected() as session:
        id = await _run(session)
    arrived = subject.sandbox.runs[id].config
    for key, value in CONFIG.items():
        equal(value, arrived.get(key), f"{key} at the tracker")


@check()
async def numbers_arrive_as_they_are(subject: Subject) -> None:
    """Metrics arrive with their step and every digit."""
    values = {"loss": 0.1234567890123456, "learning_rate": 2e-4, "tokens": 123456789.0}
    async with subject.connected() as session:
        id = await _run(session)
        await _log(session, id, 7, **values)
        await session.call("finish_run", run_id=id, status=JobStatus.COMPLETED)
    equal([(7, values)], subject.sandbox.runs[id].metrics, "the metrics at the tracker")


@check()
async def numbers_arrive_in_order(subject: Subject) -> None:
    """More steps than a page holds arrive once each, in order, and get_metrics reads them back so."""
    async with subject.connected() as session:
        id = await _run(session)
        for step in range(_STEPS):
            await _log(session, id, step, loss=1 / (step + 1))
        await session.call("finish_run", run_id=id, status=JobStatus.COMPLETED)
        rows = await session.ask("get_metrics", list, job_id=id)
    equal(list(range(_STEPS)), [step for step, _ in subject.sandbox.runs[id].metrics], "the steps at the tracker")
    equal([1 / (step + 1) for step in range(_STEPS)], [row.get("loss") for row in rows], "what get_metrics reads back")


@check()
async def odd_numbers_are_kept_or_refused(subject: Subject) -> None:
    """NaN and infinity are kept as such or refused with an error of ours; they never become another number."""
    async with subject.connected() as session:
        for value in (float("nan"), float("inf")):
            id = await _run(session)
            answer = await outcome(_log(session, id, 1, loss=value))
            await session.call("finish_run", run_id=id, status=JobStatus.COMPLETED)
            if isinstance(answer, PeftStudioError):
                continue
            kept = [values.get("loss") for _, values in subject.sandbox.runs[id].metrics]
            expect([repr(value)] == [repr(each) for each in kept], f"{value} became {shown(kept)}")


@check()
async def text_arrives(subject: Subject) -> None:
    """Lines of the console arrive in order, in all letters."""
    lines = ["first", "Verlust 0,3 – 损失", "last"]
    async with subject.connected() as session:
        id = await _run(session)
        for line in lines:
            await session.call("log_text", run_id=id, text=line)
        await session.call("finish_run", run_id=id, status=JobStatus.COMPLETED)
    equal(lines, subject.sandbox.runs[id].text, "the text at the tracker")


@check()
async def run_ends_as_the_job_did(subject: Subject) -> None:
    """finish_run tells the tracker whether the job was completed, failed or cancelled: three different words."""
    words = []
    async with subject.connected() as session:
        for status in (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED):
            id = await _run(session)
            await session.call("finish_run", run_id=id, status=status)
            words.append(subject.sandbox.runs[id].status)
    equal(3, len(set(words)), "the number of different words")
    expect("running" not in words, f"a run that is finished is called {shown(words)}")


@check()
async def finish_twice(subject: Subject) -> None:
    """Finishing again changes nothing."""
    async with subject.connected() as session:
        id = await _run(session)
        for _ in range(2):
            await session.call("finish_run", run_id=id, status=JobStatus.COMPLETED)


@check()
async def unknown_run_is_an_error(subject: Subject) -> None:
    """Writing to a run that the tracker does not know raises an error of ours."""
    kinds = (JobNotFound, PlatformError)
    async with subject.connected() as session:
        await refused(_log(session, "no-such-run", 1, loss=1.0), kinds, "metrics for an unknown run")
        await refused(session.call("get_metrics", job_id="no-such-run"), kinds, "metrics of an unknown run")


@check()
async def runs_do_not_mix(subject: Subject) -> None:
    """What is written to one run is not in another."""
    async with subject.connected() as session:
        first, second = await _run(session), await _run(session)
        await _log(session, first, 1, loss=1.0)
        await _log(session, second, 1, loss=2.0)
        for id in (first, second):
            await session.call("finish_run", run_id=id, status=JobStatus.COMPLETED)
    equal([(1, {"loss": 1.0})], subject.sandbox.runs[first].metrics, "the metrics of the first run")


@check(network=True)
async def repeated_numbers_count_once(subject: Subject) -> None:
    """Metrics whose answer was lost, and that are therefore sent again, are at the tracker once."""
    async with subject.connected() as session:
        id = await _run(session)
        subject.http.faults.add("reset_after", times=1)
        for _ in range(3):
            answer = await outcome(_log(session, id, 1, loss=1.0))
            if not isinstance(answer, PeftStudioError):
                break
            expect(isinstance(answer, ConnectionFailed), f"a lost answer gave {shown(answer)}")
        await session.call("finish_run", run_id=id, status=JobStatus.COMPLETED)
    equal([(1, {"loss": 1.0})], subject.sandbox.runs[id].metrics, "the metrics at the tracker")


@check(network=True)
async def lost_numbers_are_an_error(subject: Subject) -> None:
    """When the tracker cannot be reached somebody is told, at the latest by finish_run: ConnectionFailed."""
    async with subject.connected() as session:
        id = await _run(session)
        subject.http.faults.add("reset_before", times=None)

        async def all_of_it() -> Any:
            await _log(session, id, 1, loss=1.0)
            return await session.call("finish_run", run_id=id, status=JobStatus.COMPLETED)

        await refused(all_of_it(), ConnectionFailed, "metrics for a tracker that is down")
        subject.http.faults.clear()


@check()
async def run_keeps_an_artifact(subject: Subject) -> None:
    """upload_artifact keeps an adapter folder at the tracker, or in its registry, and answers where."""
    with folder() as place:
        async with subject.connected() as session:
            id = await _run(session)
            metadata = {"name": "adapter", "run_id": id}
            path = str(adapter(place / "adapter", FILES))
            answer = await session.ask("upload_artifact", str, path=path, metadata=metadata)
    expect(answer, "upload_artifact answered no id")

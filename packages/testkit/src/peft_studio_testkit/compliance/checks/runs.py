"""Reading runs back: all of them, those that are meant, and one as it is."""

from __future__ import annotations

from typing import Any

from peft_studio import JobNotFound, JobStatus, Run
from peft_studio.session import Session
from peft_studio_testkit.compliance.check import group
from peft_studio_testkit.compliance.checks.tracking import CONFIG
from peft_studio_testkit.compliance.expect import equal, expect, refused, shown
from peft_studio_testkit.compliance.subject import Subject

check = group(__name__, feature="tracking")

#: More than a page holds at the usual trackers.
_MANY = 120


async def _start(subject: Subject, session: Session, **config: Any) -> str:
    """A run that begins later than those before it, as far as a tracker that counts seconds can tell."""
    subject.sandbox.clock.advance(2)
    return str(await session.ask("start_run", str, config={**CONFIG, **config}))


async def _list(session: Session, **wanted: Any) -> list[Run]:
    every: dict[str, Any] = {"project": None, "status": None, "search": None, "limit": None}
    return await session.ask_list("list_runs", Run, **{**every, **wanted})


async def _ids(session: Session, **wanted: Any) -> list[str]:
    return [run.id for run in await _list(session, **wanted)]


@check(offers=("list_runs",))
async def runs_are_listed_newest_first(subject: Subject) -> None:
    """list_runs tells every run that was started, by the id that start_run answered, newest first."""
    async with subject.connected() as session:
        equal([], await _ids(session), "the list of a tracker without runs")
        started = [await _start(subject, session) for _ in range(3)]
        equal(started[::-1], await _ids(session), "the list of runs")


@check(offers=("list_runs",))
async def every_page_of_runs_is_listed(subject: Subject) -> None:
    """More runs than a page holds are listed, those of others too, each once."""
    added = [subject.sandbox.runs.add().id for _ in range(_MANY)]
    async with subject.connected() as session:
        listed = await _ids(session)
    equal(sorted(added), sorted(listed), "the list of runs")


@check(offers=("list_runs",))
async def limit_keeps_the_first_runs(subject: Subject) -> None:
    """With a limit the list is as long as that, and the beginning of the whole one."""
    async with subject.connected() as session:
        for _ in range(3):
            await _start(subject, session)
        equal((await _ids(session))[:2], await _ids(session, limit=2), "the list of two runs")
        equal(3, len(await _ids(session, limit=10)), "the number of runs with a limit above it")


@check(offers=("list_runs",))
async def search_finds_a_run(subject: Subject) -> None:
    """A search finds a run by a text in its name or id, in small or capital letters, and no other."""
    async with subject.connected() as session:
        started = [await _start(subject, session) for _ in range(3)]
        word = started[1].rpartition("/")[2].upper()
        equal([started[1]], await _ids(session, search=word), f"what a search for {word} finds")
        equal([], await _ids(session, search="no run is called so"), "what a search for nothing finds")


@check(offers=("list_runs",))
async def runs_are_listed_by_status(subject: Subject) -> None:
    """A list for a status has the runs that ended so, or run, and no others."""
    endings = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED)
    async with subject.connected() as session:
        started = {JobStatus.RUNNING: await _start(subject, session)}
        for status in endings:
            started[status] = await _start(subject, session)
            await session.call("finish_run", run_id=started[status], status=status)
        for status, id in started.items():
            equal(
                [(id, status)],
                [(run.id, run.status) for run in await _list(session, status=status)],
                f"the {status} runs",
            )


@check(offers=("list_runs",))
async def runs_are_listed_by_project(subject: Subject) -> None:
    """Where runs have projects, a list for one has its runs and no others; without one it has those of all."""
    async with subject.connected() as session:
        first, second = [await _start(subject, session, project_name=name) for name in ("first", "second")]
        projects = {run.id: run.project for run in await _list(session)}
        equal({first, second}, set(projects), "the runs of all projects")
        if projects[first] == projects[second]:
            return
        equal([first], await _ids(session, project=projects[first]), f"the runs of project {shown(projects[first])}")


@check(offers=("get_run",))
async def run_is_described(subject: Subject) -> None:
    """get_run tells a run's id, its config, the last value of each metric, and how it ended."""
    async with subject.connected() as session:
        id = await _start(subject, session)
        for step in (1, 2):
            await session.call("log_metrics", run_id=id, metrics={"loss": 1 / step}, step=step)
        await session.call("finish_run", run_id=id, status=JobStatus.COMPLETED)
        run = await session.ask("get_run", Run, run_id=id)
    equal((id, JobStatus.COMPLETED), (run.id, run.status), "the run")
    known = subject.sandbox.runs[id].config
    for key in CONFIG:
        equal(known.get(key), (run.config or {}).get(key), f"{key} in its config")
    equal(0.5, (run.summary or {}).get("loss"), "the loss in its summary")
    expect(run.name, "the run has no name")


@check(offers=("get_run",))
async def unknown_run_is_not_described(subject: Subject) -> None:
    """get_run raises JobNotFound for a run that the tracker does not know."""
    async with subject.connected() as session:
        await refused(session.call("get_run", run_id="no-such-run"), JobNotFound, "an unknown run")

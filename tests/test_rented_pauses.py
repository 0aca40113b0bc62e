"""Every fault while a job on a rented machine is paused, resumed and cancelled: no money, data or truth is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from peft_studio import JobStatus
from peft_studio_runpod.connector import RunpodConnector
from peft_studio_runpod.sandbox import RunpodSandbox

from .rented_faults import FAULTS, Step, as_text, struck
from .rented_life import FILES, LINES, Life

#: The steps of each command.
STEPS: dict[str, dict[str, Step]] = {
    "pause": {"pause": ("POST", r"/v1/stop$", 0), "stop machine": ("POST", r"/v2/pods/\w+/action$", 0)},
    "resume": {"start machine": ("POST", r"/v2/pods/\w+/action$", 0), "resume": ("POST", r"/v1/resume$", 0)},
    "cancel": {"cancel": ("POST", r"/v1/stop$", 0), "end": ("DELETE", r"/v2/pods/", 0)},
}
BECOMES = {"pause": JobStatus.PAUSED, "resume": JobStatus.RUNNING, "cancel": JobStatus.CANCELLED}
#: What the platform calls by another name.
ALIASES = {"stop machine": "status", "start machine": "status"}
#: Seconds of the sandbox that a job runs: time passes when the test lets it.
LONG = 100_000
#: By fault and step: the steps of a command are struck in one life.
Matrix = dict[tuple[str, str], str]
NAMES = [*(name for name, (kind, _) in FAULTS.items() if kind != "refuse"), "other name"]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunpodSandbox]:
    """Its clock is a hundred times as fast as ours."""
    with RunpodSandbox(speed=100) as platform:
        yield platform


@pytest.fixture(scope="module")
def matrix(request: pytest.FixtureRequest) -> Iterator[Matrix]:
    """What became of each fault; printed in the end, where nobody else runs tests beside."""
    cells: Matrix = {}
    yield cells
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n" + as_text(cells, [step for steps in STEPS.values() for step in steps]))  # noqa: T201 -- asked for


@pytest.fixture
def life(sandbox: RunpodSandbox, tmp_path: Path) -> Iterator[Life]:
    """A user of that platform, to whom nothing has happened yet."""
    sandbox.on_answer = None
    sandbox.reset()
    sandbox.script(lines=LINES, files=FILES, running_seconds=LONG)
    with Life.at(sandbox, RunpodConnector, tmp_path) as life:
        yield life


@pytest.mark.parametrize("name", NAMES)
def test_pause_and_resume(life, matrix, name):
    """The machine stands still and goes on; every line comes once, and the adapter comes home."""
    asyncio.run(paused_and_resumed(life, matrix, {step: name for wish in ("pause", "resume") for step in STEPS[wish]}))


@pytest.mark.parametrize("step", [*STEPS["pause"], *STEPS["resume"]])
def test_pause_and_resume_with_an_outage(life, matrix, step):
    """For as long as nobody is there."""
    asyncio.run(paused_and_resumed(life, matrix, {step: "nobody there"}))


@pytest.mark.parametrize("name", NAMES)
def test_cancel(life, matrix, name):
    """Cancelled is what the job was; nothing rented is left, and no line came twice."""
    asyncio.run(cancelled(life, matrix, dict.fromkeys(STEPS["cancel"], name)))


@pytest.mark.parametrize("step", STEPS["cancel"])
def test_cancel_with_an_outage(life, matrix, step):
    """For as long as nobody is there."""
    asyncio.run(cancelled(life, matrix, {step: "nobody there"}))


async def paused_and_resumed(life: Life, matrix: Matrix, faults: dict[str, str]) -> None:
    """One life with these faults, by the steps that they strike."""
    id = await running(life)
    (pod,) = life.sandbox.pods.values()
    await insist(life, matrix, id, "pause", faults)
    assert "EXITED" == pod.status
    await insist(life, matrix, id, "resume", faults)
    assert "RUNNING" == pod.status
    life.sandbox.advance(LONG)
    assert [] == life.verdict(await life.inherit(id))


async def cancelled(life: Life, matrix: Matrix, faults: dict[str, str]) -> None:
    """The same for a job that is cancelled while it runs."""
    id = await running(life)
    await insist(life, matrix, id, "cancel", faults)
    assert [] == life.books(await life.inherit(id))
    lines = [event.data["message"] for event in life.ledger.events(id) if event.type == "log"]
    assert LINES[: len(lines)] == lines


async def running(life: Life) -> str:
    """A job that has begun, half way."""
    id = await life.begin(resource_id="RTX A5000")
    await life.attempt(lambda manager: manager.jobs.feed(id), life.troubles)
    life.sandbox.advance_until(str(life.job(id).platform_id), JobStatus.RUNNING)
    life.sandbox.advance(LONG / 2)
    return id


async def insist(life: Life, matrix: Matrix, id: str, wish: str, faults: dict[str, str]) -> None:
    """Give the command again until it succeeds: then it must be so. Each fault must have struck."""
    hits, before = {}, len(life.troubles)
    with ExitStack() as until:
        for step in STEPS[wish].keys() & faults.keys():
            alias = ("alias", {"old": ALIASES.get(step, "state"), "new": "another"})
            kind, how = {**FAULTS, "other name": alias}[faults[step]]
            hits[step] = until.enter_context(struck(life.sandbox, STEPS[wish][step], kind, how))
        tried = -1
        while tried < len(life.troubles):
            tried = len(life.troubles)
            await life.attempt(lambda manager: getattr(manager.jobs, wish)(id), life.troubles)
    life.compare(id)
    life.sandbox.faults.clear()
    assert BECOMES[wish] is life.job(id).status
    matrix |= {(faults[step], step): "unnoticed" if before == len(life.troubles) else "again" for step in hits}
    assert [] == [step for step, count in hits.items() if not count()], "no request came to these steps"

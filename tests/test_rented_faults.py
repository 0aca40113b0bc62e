"""Every fault at every step of a job on a rented machine: no money, no data and no truth is lost on the way.

Each cell of the matrix is one whole life of a job against RunPod's sandbox, with one kind of fault at one step. A job
that is paused, resumed or cancelled on the way is in test_rented_pauses.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peft_studio_runpod.connector import RunpodConnector
from peft_studio_runpod.sandbox import RunpodSandbox
from peft_studio_testkit.sandbox.fault_kinds import KINDS

from .rented_faults import FAULTS, Step, as_text, struck
from .rented_life import FILES, LINES, Life

STEPS: dict[str, Step] = {
    "connect": ("GET", r"/v2/pods$", 0),
    "catalogue": ("GET", r"/v2/catalog/gpus", 0),
    "rent": ("POST", r"/v2/pods$", 0),
    "look at machine": ("GET", r"/v2/pods/\w+$", 0),
    "boot log": ("GET", r"/v2/pods/\w+/logs$", 0),
    "worker there?": ("GET", r"/v1/health$", 0),
    "input there?": ("HEAD", r"/v1/inputs/", 0),
    "upload": ("PUT", r"/v1/inputs/", 0),
    "begin": ("PUT", r"/v1/job$", 0),
    "state": ("GET", r"/v1/job$", 1),
    "events": ("GET", r"/v1/events$", 1),
    "manifest": ("GET", r"/v1/artifact$", 0),
    "file": ("GET", r"/v1/artifact/.", 1),
    "end": ("DELETE", r"/v2/pods/", 0),
}
#: One byte differs: what has a checksum shows it; JSON over TLS has none, and needs none.
CHECKED = {"manifest", "file", "upload"}
#: What the platform calls by another name: a key that is needed there, or a file that would leave its folder.
ALIASES = {
    "catalogue": ("gpus", "chips"),
    "look at machine": ("RUNNING", "HIBERNATING"),
    "worker there?": ("worker", "labourer"),
    "state": ("state", "condition"),
    "events": ("sequence", "number"),
    "manifest": ("adapter_config.json", "../escaped.txt"),
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunpodSandbox]:
    """Its clock is a hundred times as fast as ours."""
    with RunpodSandbox(speed=100) as platform:
        yield platform


@pytest.fixture(scope="module")
def matrix(request: pytest.FixtureRequest) -> Iterator[dict[tuple[str, str], str]]:
    """What became of each cell; printed in the end, where nobody else runs tests beside."""
    cells: dict[tuple[str, str], str] = {}
    yield cells
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n" + as_text(cells, STEPS))  # noqa: T201 -- it is asked for


@pytest.mark.parametrize("step", STEPS)
def test_no_fault_costs_money_data_or_truth(step, sandbox, matrix, tmp_path):
    """One machine, gone in the end; every line once; no status that was not so; the adapter, byte for byte."""
    wrong = {}
    old, new = ALIASES.get(step, ("id", "identity"))
    kinds = {**FAULTS, "other name": ("alias", {"old": old, "new": new})}
    kinds |= {"one byte": ("corrupt", {})} if step in CHECKED else {}
    assert {"refuse", *KINDS} == {kind for kind, _ in (*kinds.values(), ("corrupt", {}))}
    for number, (name, (kind, how)) in enumerate(kinds.items()):
        home = tmp_path / str(number)
        home.mkdir()
        outcome, complaints = asyncio.run(cell(sandbox, step, kind, how, home))
        matrix[name, step] = outcome
        if complaints:
            wrong[name] = complaints
    assert {} == wrong


async def cell(sandbox: RunpodSandbox, step: str, kind: str, how: dict[str, Any], home: Path) -> tuple[str, list[str]]:
    """One life. What came of it in a sign, and everything that is wrong."""
    sandbox.on_answer = None
    sandbox.reset()
    sandbox.script(lines=LINES, files=FILES, running_seconds=20)
    with struck(sandbox, STEPS[step], kind, how) as strikes, Life.at(sandbox, RunpodConnector, home) as life:
        try:
            job = await life.live(resource_id="RTX A5000")
        except AssertionError as error:
            return "x", [f"the user gave up: {error}"]
        complaints = life.verdict(job)
    if not strikes():
        complaints.append("no request came to that step")
    sign = "refused, then right" if life.refusals else "again" if life.troubles else "unnoticed"
    return ("x" if complaints else sign), complaints

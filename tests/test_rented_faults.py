"""Every fault at every step of a job on a rented machine: no money, no data and no truth is lost on the way.

Each cell of the matrix is one whole life of a job against RunPod's sandbox, with one kind of fault that strikes one
step twice, so that the first attempt fails for good, with its repetition.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from peft_studio_runpod.connector import RunpodConnector
from peft_studio_runpod.sandbox import RunpodSandbox
from peft_studio_testkit.sandbox import Fault, Received
from peft_studio_testkit.sandbox.fault_kinds import KINDS

from .rented_life import FILES, LINES, Life

#: Step: method and path of its requests, and how many of them pass before a fault strikes.
STEPS: dict[str, tuple[str, str, int]] = {
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
FAULTS: dict[str, tuple[str, dict[str, Any]]] = {
    "late answer": ("delay", {"seconds": 0.2}),
    "no answer": ("timeout", {}),
    "done, no answer": ("timeout", {"commit": True}),
    "reset": ("reset_before", {}),
    "done, reset": ("reset_after", {}),
    "401": ("status", {"code": 401}),
    "404 page": ("status", {"code": 404, "body": "404 page not found", "headers": {"content-type": "text/plain"}}),
    "429": ("status", {"code": 429, "headers": {"Retry-After": "1"}}),
    "500": ("status", {"code": 500}),
    "done, 500": ("status", {"code": 500, "commit": True}),
    "502 page": ("status", {"code": 502, "body": "<html>bad gateway</html>", "headers": {"content-type": "text/html"}}),
    "503": ("status", {"code": 503}),
    "524 page": ("status", {"code": 524, "body": "error code: 524", "headers": {"content-type": "text/plain"}}),
    "1010 page": ("status", {"code": 403, "body": "error code: 1010", "headers": {"content-type": "text/plain"}}),
    "short body": ("truncate", {}),
    "half JSON": ("cut_json", {}),
    "garbage": ("garbage", {}),
    "login page": ("html", {}),
    "empty": ("empty", {}),
    "other JSON": ("shape", {"body": {"surprise": True}}),
    "more fields": ("extra_fields", {}),
    "redirect": ("redirect", {}),
    "cut": ("drop_after", {"bytes": 20}),
    "silence": ("half_open", {"bytes": 20}),
    "drip": ("drip", {"bytes_per_second": 100_000}),
    "other clock": ("skew", {"seconds": -86400}),
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
        print("\n" + as_text(cells))  # noqa: T201 -- it is asked for


@pytest.mark.parametrize("step", STEPS)
def test_no_fault_costs_money_data_or_truth(step, sandbox, matrix, tmp_path):
    """One machine, gone in the end; every line once; no status that was not so; the adapter, byte for byte."""
    wrong = {}
    old, new = ALIASES.get(step, ("id", "identity"))
    kinds = {**FAULTS, "other name": ("alias", {"old": old, "new": new}), "nobody there": ("refuse", {})}
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
    method, path, after = STEPS[step]
    with ExitStack() as until, Life.at(sandbox, RunpodConnector, home) as life:
        if kind == "refuse":
            strikes = until.enter_context(outage(sandbox, method, path))
        else:
            fault = sandbox.faults.add(kind, method, path, times=2, after=after, **how)
            strikes = fault_hits(fault)
        try:
            job = await life.live(resource_id="RTX A5000")
        except AssertionError as error:
            return "x", [f"the user gave up: {error}"]
        complaints = life.verdict(job)
    if not strikes():
        complaints.append("no request came to that step")
    sign = "refused, then right" if life.refusals else "again" if life.troubles else "unnoticed"
    return ("x" if complaints else sign), complaints


@contextmanager
def outage(sandbox: RunpodSandbox, method: str, path: str) -> Iterator[Callable[[], int]]:
    """When the step has been answered once nobody listens any more, for a while."""
    timers: list[threading.Timer] = []

    def close(received: Received) -> None:
        if not timers and received.method == method and re.search(path, received.path):
            # The server cannot wait for itself.
            timers.append(threading.Timer(0.0, sandbox.faults.add, ["refuse"]))
            timers.append(threading.Timer(0.5, sandbox.faults.clear))
            for timer in timers:
                timer.start()

    sandbox.on_answer = close
    yield lambda: len(timers)
    for timer in timers:
        timer.join()


def fault_hits(fault: Fault) -> Callable[[], int]:
    """How often it has struck."""
    return lambda: fault.hits


def as_text(cells: dict[tuple[str, str], str]) -> str:
    """The matrix as a table: faults down, steps across."""
    signs = {"unnoticed": ".", "again": "r", "refused, then right": "R", "x": "X"}
    names = list(dict.fromkeys(name for name, _ in cells))
    width = max(map(len, names))
    lines = [f"{number:2} {step}" for number, step in enumerate(STEPS, 1)]
    lines.append(
        ". the transport or the connector mended it   r the command was given again   R a submission was refused"
    )
    lines.append(" " * width + "".join(f"{number:4}" for number in range(1, len(STEPS) + 1)))
    for name in names:
        row = "".join(f"{signs.get(cells.get((name, step), ''), ' '):>4}" for step in STEPS)
        lines.append(f"{name:{width}}{row}")
    return "\n".join(lines)

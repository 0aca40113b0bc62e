"""The faults of the injector, each at a step of a job's life on a rented machine, and what came of it as a table."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from peft_studio_runpod.sandbox import RunpodSandbox
from peft_studio_testkit.sandbox import Received

#: Method and path of a step's requests, and how many of them pass before a fault strikes.
Step = tuple[str, str, int]

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
    "nobody there": ("refuse", {}),
}


@contextmanager
def struck(sandbox: RunpodSandbox, step: Step, kind: str, how: Mapping[str, Any]) -> Iterator[Callable[[], int]]:
    """Strike that step twice, so that the first attempt fails for good, with its repetition; tells how often it did."""
    method, path, after = step
    if kind == "refuse":
        with outage(sandbox, step) as strikes:
            yield strikes
    else:
        fault = sandbox.faults.add(kind, method, path, times=2, after=after, **how)
        yield lambda: fault.hits


@contextmanager
def outage(sandbox: RunpodSandbox, step: Step) -> Iterator[Callable[[], int]]:
    """When the step has been answered once nobody listens any more, for a while."""
    method, path, after = step
    answered = 0
    # The server cannot wait for itself.
    timers = [threading.Timer(0.0, sandbox.faults.add, ["refuse"]), threading.Timer(0.5, sandbox.faults.clear)]

    def close(received: Received) -> None:
        nonlocal answered
        if received.method != method or not re.search(path, received.path):
            return
        answered += 1
        if answered == after + 1:
            for timer in timers:
                timer.start()

    sandbox.on_answer = close
    yield lambda: max(0, answered - after)
    if answered > after:
        for timer in timers:
            timer.join()


def as_text(cells: Mapping[tuple[str, str], str], steps: Iterable[str]) -> str:
    """The matrix as a table: faults down, steps across."""
    signs = {"unnoticed": ".", "again": "r", "refused, then right": "R", "x": "X"}
    names = list(dict.fromkeys(name for name, _ in cells))
    width = max(map(len, names))
    columns = list(enumerate(steps, 1))
    lines = [f"{number:2} {step}" for number, step in columns]
    lines.append(
        ". the transport or the connector mended it   r the command was given again   R a submission was refused"
    )
    lines.append(" " * width + "".join(f"{number:4}" for number, _ in columns))
    for name in names:
        row = "".join(f"{signs.get(cells.get((name, step), ''), ' '):>4}" for _, step in columns)
        lines.append(f"{name:{width}}{row}")
    return "\n".join(lines)

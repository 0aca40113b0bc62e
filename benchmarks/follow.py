"""Many jobs on rented machines, followed at once by one program, beside curl on as many streams."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import measure as m
from report import Section, packages

if TYPE_CHECKING:
    from run import Bench

METHOD = (
    "One process serves the events of all jobs as their workers would, a step a second each, beginning at moments of "
    "their own; taking turns. *Ours* is one program that follows them as the command line does: `Jobs.follow`, by long "
    "poll, each event parsed and copied to the ledger; *its wire alone* is `Worker.events`, without all that. "
    "`curl --parallel` holds as many streams of server-sent events open in one process and throws away what comes: the "
    "least that this can cost, for no launcher follows many jobs in one program. *CPU* is the client's without its "
    "start; *memory* its growth, curl's peak; *lag* from the moment of a step to the moment when the program has it."
)
HERE = Path(__file__).resolve().parent
JOBS = 100


def measure(bench: Bench) -> Section:
    """Follow all of them to their end, again and again."""
    steps, rounds = (5, 2) if bench.is_quick else (12, 2)
    environment = m.clean_environment(bench.home("follow"))
    folder, turn_number = bench.scratch / "follow", count()
    folder.mkdir()
    load = m.Load()
    with _server(bench.rented.python, steps, environment) as address:

        def ours(program: str) -> dict[str, Any]:
            words = (f"{address}/{next(turn_number)}", JOBS, steps)
            client = [bench.rented.python, str(HERE / program), *map(str, words)]
            return _ours(client, environment, steps)

        turns = {
            "ours": lambda: ours("follow_jobs_client.py"),
            "its wire alone": lambda: ours("follow_client.py"),
        }
        if shutil.which("curl"):
            turns["curl"] = lambda: _curl(f"{address}/{next(turn_number)}", environment, folder, steps)
        taken = m.take_turns(turns, rounds, warm_up=0)
    return Section(
        title=f"{JOBS} jobs followed at once",
        method=METHOD,
        headings=("client", "CPU s per job and minute", "memory per job, KiB", "lag p50, s", "lag p95, s"),
        rows=[_row(name, each) for name, each in taken.items()],
        samples={name: [{**each, "lags": []} for each in turns] for name, turns in taken.items()},
        foreign_cores=load.foreign_cores(),
        packages={"rented": packages(bench.rented)},
    )


@contextmanager
def _server(python: str, steps: int, environment: Mapping[str, str]) -> Iterator[str]:
    """Its address, while it serves."""
    command = [python, str(HERE / "follow_server.py"), str(steps)]
    with subprocess.Popen(command, env=dict(environment), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def _ours(command: Sequence[str], environment: Mapping[str, str], steps: int) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(m.run(command, environment, is_alone=False).output)
    _require_all(told.pop("events"), steps)
    return told


def _curl(address: str, environment: Mapping[str, str], folder: Path, steps: int) -> dict[str, Any]:
    settings = folder / "curl.txt"
    files = [folder / f"{number}.txt" for number in range(JOBS)]
    lines = [f'url = "{address}/{number}/v1/events"\noutput = "{file}"\n' for number, file in enumerate(files)]
    settings.write_text("".join(lines), encoding="utf-8")
    command = ["curl", "-sSf", "-N", "--parallel", "--parallel-immediate", "--parallel-max", str(JOBS)]
    ran = m.run([*command, "-H", "Accept: text/event-stream", "--config", str(settings)], environment, is_alone=False)
    _require_all([file.read_text(encoding="utf-8").count("data: ") for file in files], steps)
    return {"cpu": ran.cpu, "seconds": ran.wall, "growth": ran.peak_memory, "lags": []}


def _require_all(events: Sequence[int], steps: int) -> None:
    if list(events) != [steps] * JOBS:
        raise SystemExit(f"bench: not every job told all of its {steps} steps: {sorted(set(events))}")


def _row(name: str, taken: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    cpu = m.spread([each["cpu"] / JOBS / each["seconds"] * 60 for each in taken])
    memory = m.spread([each["growth"] / JOBS / 1024 for each in taken], 0)
    lags = [[m.percentile(each["lags"], percent) for each in taken] for percent in (50, 95) if taken[0]["lags"]]
    return (name, cpu, memory, *(map(m.spread, lags) if lags else ("", "")))

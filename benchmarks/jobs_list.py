"""`jobs list` on a thousand recorded jobs, beside `torchx --help` for scale: TorchX cannot list local jobs."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import measure as m
from report import Section, packages, verdict

if TYPE_CHECKING:
    from run import Bench

METHOD = (
    "Whole processes, taking turns, on a ledger with 1,000 finished jobs that was written through the ledger's own "
    "interface; output into a file. `torchx --help` is there for scale only: `torchx list -s local_cwd` refuses."
)
JOBS = 1000
GOAL_SECONDS = 0.25


def measure(bench: Bench) -> Section:
    """Time the list for people and the list for programs."""
    environment = m.clean_environment(bench.home("jobs_list"))
    m.run([bench.studio.python, str(Path(__file__).with_name("fill_ledger.py")), str(JOBS)], environment)
    listing = m.run([bench.studio.program("peft-studio"), "jobs", "list", "--json"], environment).output
    if len(json.loads(listing)) != JOBS:
        raise SystemExit(f"bench: expected {JOBS} jobs in the list")
    commands = {
        "peft-studio jobs list": [bench.studio.program("peft-studio"), "jobs", "list"],
        "peft-studio jobs list --json": [bench.studio.program("peft-studio"), "jobs", "list", "--json"],
        "torchx --help": [bench.torchx.program("torchx"), "--help"],
    }
    load = m.Load()
    turns = {name: lambda command=command: m.run(command, environment) for name, command in commands.items()}
    taken = m.take_turns(turns, rounds=5 if bench.is_quick else 15, warm_up=1)
    wall = {name: [process.wall for process in processes] for name, processes in taken.items()}
    cpu = {name: [process.cpu for process in processes] for name, processes in taken.items()}
    scale = median(wall["torchx --help"])
    return Section(
        title="`jobs list` on 1,000 recorded jobs",
        method=METHOD,
        headings=("command", "wall, s", "CPU, s", "wall / `torchx --help`"),
        rows=[
            (f"`{name}`", m.spread(wall[name]), m.spread(cpu[name]), f"{median(wall[name]) / scale:.2f}")
            for name in commands
        ],
        verdicts=[
            verdict(f"`{name}` at most {GOAL_SECONDS} s", median(wall[name]), at_most=GOAL_SECONDS)
            for name in commands
            if name.startswith("peft-studio")
        ],
        samples={"wall": wall, "cpu": cpu},
        foreign_cores=load.foreign_cores(),
        packages={"studio": packages(bench.studio), "torchx": packages(bench.torchx)},
    )

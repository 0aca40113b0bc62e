"""Start-up: whole processes of our command line and of two peers', with fourteen connectors installed on our side."""

from __future__ import annotations

import json
from statistics import median
from typing import TYPE_CHECKING

import measure as m
from report import Section, packages, verdict

if TYPE_CHECKING:
    from run import Bench

METHOD = (
    "Whole processes, taking turns, after a warm-up; everything byte-compiled, an empty home folder. "
    "Ours has 14 connectors installed (local with its trainer and 13 samples), each a distribution of its own with a "
    "connector.json. CPU time is the steadier figure on a busy machine."
)
PEER = "torchx --help"
GOAL = 1.0


def measure(bench: Bench) -> Section:
    """Compare `--version`, `--help` and `connectors list` with `torchx --help` and `hf --help`."""
    commands = {
        "peft-studio --version": [bench.studio.program("peft-studio"), "--version"],
        "peft-studio --help": [bench.studio.program("peft-studio"), "--help"],
        "peft-studio connectors list": [bench.studio.program("peft-studio"), "connectors", "list"],
        PEER: [bench.torchx.program("torchx"), "--help"],
        "hf --help": [bench.hub.program("hf"), "--help"],
        "python -c pass": [bench.core.python, "-c", "pass"],
    }
    # hf looks for updates once a day otherwise.
    environment = m.clean_environment(bench.home("startup"), HF_HUB_DISABLE_UPDATE_CHECK="1")
    _require_connectors(bench, environment)
    load = m.Load()
    turns = {name: lambda command=command: m.run(command, environment) for name, command in commands.items()}
    taken = m.take_turns(turns, rounds=7 if bench.is_quick else 25, warm_up=2)
    wall = {name: [process.wall for process in processes] for name, processes in taken.items()}
    cpu = {name: [process.cpu for process in processes] for name, processes in taken.items()}
    return Section(
        title="Start-up",
        method=METHOD,
        headings=("command", "wall, s", "CPU, s", f"wall / `{PEER}`", f"CPU / `{PEER}`"),
        rows=[
            (
                f"`{name}`",
                m.spread(wall[name]),
                m.spread(cpu[name]),
                f"{ratio(wall, name):.2f}",
                f"{ratio(cpu, name):.2f}",
            )
            for name in commands
        ],
        verdicts=[
            verdict(f"wall of `{name}` at most {GOAL} of `{PEER}`", ratio(wall, name), at_most=GOAL)
            for name in commands
            if name.startswith("peft-studio")
        ],
        samples={"wall": wall, "cpu": cpu},
        foreign_cores=load.foreign_cores(),
        packages={"studio": packages(bench.studio), "torchx": packages(bench.torchx), "hub": packages(bench.hub)},
    )


def ratio(samples: dict[str, list[float]], name: str) -> float:
    """Ours divided by the peer's, medians."""
    return median(samples[name]) / median(samples[PEER])


def _require_connectors(bench: Bench, environment: dict[str, str]) -> None:
    """A list that finds fewer, or broken ones, would be quick for the wrong reason."""
    listing = m.run([bench.studio.program("peft-studio"), "connectors", "list", "--json"], environment).output
    states = [(each["name"], each["state"], each["problems"]) for each in json.loads(listing)]
    if len(states) != 14 or any(problems for _, _, problems in states):
        raise SystemExit(f"bench: expected 14 connectors without problems, found {states}")

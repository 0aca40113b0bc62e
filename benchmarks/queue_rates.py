"""Operations per second into and out of the offline queue, beside persist-queue and huey's SQLite storage."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import measure as m
from report import Section, packages

if TYPE_CHECKING:
    from run import Bench

METHOD = (
    "One process, one file on the same disk, the same payload of about 200 bytes as JSON, taking turns; rates within "
    "the process. All three with WAL and synchronous FULL, as each file itself says: every put waits for the disk. "
    "*Drain* takes each operation and acknowledges it. persist-queue writes twice for that; ours acknowledges one and "
    "claims the next in one write; huey deletes what it hands out, so that a consumer that is killed loses it. Ours "
    "also looks for the key, so that nothing is queued twice, and keeps the order of streams."
)


def measure(bench: Bench) -> Section:
    """Fill and empty each of them."""
    count, rounds = (300, 3) if bench.is_quick else (2000, 9)
    pythons = {"ours": bench.core.python, "persist-queue": bench.queues.python, "huey": bench.queues.python}
    program = str(Path(__file__).with_name("queue_program.py"))
    environment = m.clean_environment(bench.home("queue_rates"))
    numbers = iter(range(1000))

    def turn(name: str) -> dict[str, Any]:
        folder = bench.scratch / f"queue-{next(numbers)}"
        folder.mkdir()
        answer: dict[str, Any] = json.loads(
            m.run([pythons[name], program, name, str(folder), str(count)], environment).output
        )
        if answer["durability"] != ["wal", 2]:
            raise SystemExit(f"bench: {name} has {answer['durability']}, not WAL with synchronous FULL")
        return answer

    load = m.Load()
    taken = m.take_turns({name: lambda name=name: turn(name) for name in pythons}, rounds=rounds)
    rates = {
        what: {name: [count / answer[what] for answer in answers] for name, answers in taken.items()}
        for what in ("fill", "drain")
    }
    return Section(
        title=f"Offline queue: {count:,} operations in and out",
        method=METHOD,
        headings=("queue", "in, per second", "out, per second", "in / ours", "out / ours"),
        rows=[_row(name, rates) for name in pythons],
        samples=rates,
        foreign_cores=load.foreign_cores(),
        packages={"core": packages(bench.core), "queues": packages(bench.queues)},
    )


def _row(name: str, rates: dict[str, dict[str, list[float]]]) -> tuple[str, ...]:
    ratios = [f"{median(rates[what][name]) / median(rates[what]['ours']):.2f}" for what in ("fill", "drain")]
    return name, m.spread(rates["fill"][name], 0), m.spread(rates["drain"][name], 0), *ratios

"""Local jobs: from the submit call to the first log line, and a follower's lag, against TorchX's local_cwd."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import demo_data
import measure as m
from report import Section, packages, verdict

if TYPE_CHECKING:
    from run import Bench

METHOD = (
    "One job per process, submitted and followed through each side's Python interface, taking turns. *First line*: "
    "from the submit call until a follower has it; ours comes from the supervisor. *First line of the job*: printed "
    "by the job's own process as soon as its interpreter runs. *Lag*: from the moment a line was printed, which it "
    "carries, until the follower has it; ours are printed on stderr of a trainer that is importing torch and training"
    " a tiny model meanwhile, TorchX's by a program that does nothing else. Our job is detached: it survives its "
    "client; TorchX's ends with it."
)
HERE = Path(__file__).resolve().parent
STEPS = 150
LINES = 80
GOAL_FIRST, GOAL_LAG = 0.3, 0.15


def measure(bench: Bench) -> Section:
    """Run small jobs on both sides."""
    environment = m.clean_environment(bench.home("local_submit"), GOMP_SPINCOUNT="1000")
    model, data = bench.scratch / "tiny", bench.scratch / "tiny.jsonl"
    m.run([bench.studio.python, str(HERE / "tiny_model.py"), str(model)], environment)
    demo_data.write(data, 96)
    stamped = {**environment, "PYTHONPATH": str(HERE / "stamped_trainer")}
    ours = [bench.studio.python, str(HERE / "submit_ours.py"), str(model), str(data), str(STEPS)]
    peer = [bench.torchx.python, str(HERE / "submit_torchx.py"), str(LINES)]
    load = m.Load()
    turns = {"ours": lambda: _answer(ours, stamped), "torchx": lambda: _answer(peer, environment)}
    taken = m.take_turns(turns, rounds=3 if bench.is_quick else 9)
    values = {name: _values(answers) for name, answers in taken.items()}
    mine, theirs = values["ours"], values["torchx"]
    return Section(
        title="Local jobs: submit and follow",
        method=METHOD,
        headings=("seconds", "ours", "TorchX `local_cwd`", "ours / TorchX"),
        rows=[
            (name, m.spread(mine[name]), m.spread(theirs[name]), f"{median(mine[name]) / median(theirs[name]):.2f}")
            for name in mine
        ],
        verdicts=[
            verdict(f"first line within {GOAL_FIRST} s", median(mine["first line"]), at_most=GOAL_FIRST),
            verdict(f"lag p95 at most {GOAL_LAG} s", median(mine["lag p95"]), at_most=GOAL_LAG),
        ],
        samples=taken,
        foreign_cores=load.foreign_cores(),
        packages={"studio": packages(bench.studio), "torchx": packages(bench.torchx)},
    )


def _answer(command: Sequence[str], environment: dict[str, str]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(m.run(command, environment).output)
    if answer["status"].lower() not in ("completed", "succeeded") or len(answer["lags"]) < LINES // 4:
        raise SystemExit(
            f"bench: {command[1]}: the job {answer['status']} with {len(answer['lags'])} stamped lines; "
            f"its last words: {answer['last_words']}"
        )
    return answer


def _values(answers: Sequence[dict[str, Any]]) -> dict[str, list[float]]:
    return {
        "submit call": [answer["submit"] for answer in answers],
        "first line": [answer["first"] for answer in answers],
        "first line of the job": [answer["first_of_process"] for answer in answers],
        "lag p50": [m.percentile(answer["lags"], 50) for answer in answers],
        "lag p95": [m.percentile(answer["lags"], 95) for answer in answers],
    }

"""Runs that are read back: found as people name them, measured, and set side by side."""

from __future__ import annotations

import asyncio
import json
import math
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import pytest

from peft_studio import (
    ConnectorManager,
    JobNotFound,
    JobStatus,
    Ledger,
    PlatformConnector,
    Run,
    TrainingConfig,
    UnsupportedCapability,
)
from peft_studio.cli.runs_view import compared, comparison_table, details, list_table, metric_table, summary_lines
from peft_studio.lines import sparkline
from peft_studio.queue import Queue, requests
from peft_studio.queue.operation import Done
from peft_studio.tracking.curves import curves_of, flat, loss_rows, lower_is_better
from peft_studio.tracking.fold import Place
from peft_studio.tracking.runs import TrackedRuns

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
RUNS = [
    Run(id="acme/lora/ps-job-1", name="ps-job-1"),
    Run(id="acme/lora/r-1", name="first"),
    Run(id="acme/lora/r-2", name="second"),
    Run(id="acme/lora/r-3", name="second"),
]


class Tracker(PlatformConnector):
    """It knows four runs, by their whole ids."""

    name, display_name, description, version = "acme", "Acme", "A tracker", "1.0"

    async def connect(self, credentials):
        return True

    async def disconnect(self):
        pass

    async def list_runs(self, project=None, *, status=None, search=None, limit=None):
        return [run for run in RUNS if (search or "") in f"{run.name} {run.id}"][:limit]

    async def get_run(self, run_id):
        for run in RUNS:
            if run.id == run_id:
                return run
        raise JobNotFound(f"no run {run_id}")


class Silent(Tracker):
    """It records runs and reads none back."""

    list_runs = PlatformConnector.list_runs
    get_run = PlatformConnector.get_run


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """The user's own, in an empty home."""
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path))
    with Ledger() as opened:
        yield opened


def record(ledger: Ledger, tracker: str = "acme") -> str:
    """A job whose run goes to a tracker; its id."""
    config = TrainingConfig(base_model="model", dataset_path="data.jsonl", experiment_tracker=(tracker,))
    job = ledger.new_tag(config)
    ledger.record_intent(job, "other", config)
    ledger.record_submitted(job, "pod")
    return job


def queue_run(job: str, *, opened_as: str | None = None) -> None:
    """Queue the run of a job with two pieces; the tracker may have opened it already."""
    places = [Place(), Place(through=9, rows=4), Place(through=20, rows=11)]
    with Queue() as queue:
        queue.enqueue(requests.start_run("acme", job, {}))
        for before, after in pairwise(places):
            queue.enqueue(requests.log_events("acme", job, before.to_dict(), after.to_dict()))
        if opened_as is not None:
            start = queue.claim("acme", ["start_run"])
            assert start is not None
            queue.settle(start, Done(opened_as))


def with_runs(ledger: Ledger, ask: Any, connector: type[PlatformConnector] = Tracker) -> Any:
    """What `ask` answers of the tracker's runs."""

    async def go() -> Any:
        async with ConnectorManager(ledger=ledger, connectors=[connector], discover=False) as manager:
            await manager.connect("acme")
            return await ask(TrackedRuns(manager, "acme", ledger))

    return asyncio.run(go())


def find(ledger: Ledger, wanted: str) -> str:
    """The id of the run that was meant."""
    run: Run = with_runs(ledger, lambda tracked: tracked.find(wanted))
    return run.id


@pytest.mark.parametrize("wanted", ["acme/lora/r-1", "r-1", "first"])
def test_run_is_found(ledger: Ledger, wanted: str) -> None:
    """By its id, by the last part of that, and by its name."""
    assert "acme/lora/r-1" == find(ledger, wanted)


def test_run_is_found_by_its_job(ledger: Ledger) -> None:
    """As long as the queue remembers, by what the tracker answered; the beginning of the job's id is enough."""
    job = record(ledger)
    queue_run(job, opened_as="acme/lora/r-2")
    assert "acme/lora/r-2" == find(ledger, job)
    assert "acme/lora/r-2" == find(ledger, job[:-1])


def test_jobs_of_other_trackers_are_none_of_ours(ledger: Ledger) -> None:
    """A job that goes elsewhere has no run here."""
    job = record(ledger, "elsewhere")

    async def look(tracked: TrackedRuns) -> Any:
        return tracked.job(job)

    assert with_runs(ledger, look) is None
    with pytest.raises(JobNotFound, match="acme has no run"):
        find(ledger, job)


def test_name_of_several_runs_is_not_guessed(ledger: Ledger) -> None:
    """Which one was meant is asked."""
    with pytest.raises(JobNotFound, match="acme has 2 runs that are called second") as caught:
        find(ledger, "second")
    assert "acme/lora/r-2, acme/lora/r-3" in str(caught.value.remedy)


@pytest.mark.parametrize(("wanted", "near"), [("frist", "first"), ("r-9", "r-1"), ("fir", "first")])
def test_unknown_run_is_told_with_near_names(ledger: Ledger, wanted: str, near: str) -> None:
    """A name that is not far, the last part of an id, or a name that has the text in it."""
    with pytest.raises(JobNotFound, match="acme has no run") as caught:
        find(ledger, wanted)
    assert "did you mean" in str(caught.value.remedy)
    assert near in str(caught.value.remedy)


def test_run_that_still_waits_is_told(ledger: Ledger) -> None:
    """It is not unknown: it has not been sent."""
    job = record(ledger)
    queue_run(job)
    with pytest.raises(JobNotFound, match=f"acme does not have the run of {job} yet") as caught:
        find(ledger, job)
    assert "queue flush acme" in str(caught.value.remedy)


def test_rows_that_wait_are_counted(ledger: Ledger) -> None:
    """Of each job, and only for this tracker; what is done does not wait."""

    async def waiting(tracked: TrackedRuns) -> dict[str, int]:
        return tracked.waiting()

    assert {} == with_runs(ledger, waiting)
    job = record(ledger)
    queue_run(job)
    with Queue() as queue:
        queue.enqueue(requests.start_run("elsewhere", "other", {}))
        queue.enqueue(requests.start_run("acme", "opened", {}))
    assert {job: 11, "opened": 0} == with_runs(ledger, waiting)


def test_tracker_that_lists_nothing_says_so(ledger: Ledger) -> None:
    """Both methods are optional."""
    with pytest.raises(UnsupportedCapability, match="acme does not list runs"):
        with_runs(ledger, lambda tracked: tracked.manager.list_runs("acme"), Silent)
    with pytest.raises(UnsupportedCapability, match="acme does not describe runs"):
        with_runs(ledger, lambda tracked: tracked.find("first"), Silent)


# What was measured.

ROWS = [
    {"step": 1, "train/loss": 3.0, "eval": {"accuracy": 0.5}},
    {"step": 3, "train/loss": math.nan, "note": "odd", "flag": True},
    {"step": 2, "train/loss": 1.0},
    {"step": 2, "train/loss": 2.0, "eval": {"accuracy": 0.75}},
]


def test_curves_are_in_the_order_of_steps() -> None:
    """Everything that is a number, by its dotted name; of two rows of one step the later one counts."""
    curves = curves_of(ROWS)
    assert {"train/loss", "eval.accuracy"} == set(curves)
    assert ((1, 2, 3), (3.0, 2.0)) == (curves["train/loss"].steps, curves["train/loss"].values[:2])
    assert math.isnan(curves["train/loss"].last)


def test_best_is_what_is_better() -> None:
    """The lowest loss and the highest accuracy, never what is no number; of other metrics nobody knows."""
    curves = curves_of([*ROWS, {"step": 4, "train/learning_rate": 1.0}])
    best = {name: curve.best for name, curve in curves.items()}
    assert {"train/loss": (2.0, 2), "eval.accuracy": (0.75, 2), "train/learning_rate": None} == best
    diverged = curves_of([{"step": 1, "loss": math.nan}, {"step": 2, "loss": 1.0}])["loss"]
    assert ((1.0, 2), [(2.0, 1.0)]) == (diverged.best, diverged.on_grid(1, 2, 1))
    assert [True, True, False, False, None, None] == [
        lower_is_better(name)
        for name in ("val_loss", "eval/perplexity", "rougeL", "rewards/accuracies", "train/epoch", "train/tokens")
    ]


def test_curves_meet_on_a_grid() -> None:
    """Points are means of cells; empty cells, and what is no number, are left out; the last step is inside."""
    curve = curves_of([{"step": step, "loss": float(step)} for step in (0, 1, 2, 3, 90, 100)])["loss"]
    assert [(1.5, 1.5), (95.0, 95.0)] == curve.on_grid(0, 100, 10)
    assert [(1.5, 1.5), (95.0, 95.0)] == curve.on_grid(0, 100, 2)
    assert [(5.0, 2.0)] == curves_of([{"step": 5, "loss": 2.0}])["loss"].on_grid(5, 5, 40)


def test_loss_is_drawn_as_that_of_a_job() -> None:
    """Under any of the usual names."""
    curves = curves_of([{"step": 1, "train_loss": 2.0, "val_loss": 3.0}, {"step": 2, "train_loss": math.inf}])
    assert [
        {"type": "step", "step": 1, "loss": 2.0}, {"type": "eval", "step": 1, "loss": 3.0},
    ] == loss_rows(curves)  # fmt: skip


def test_nested_values_have_dotted_names() -> None:
    """Also in configs."""
    assert {"a.b": 1, "a.c.d": [2], "e": {}} == flat({"a": {"b": 1, "c": {"d": [2]}}, "e": {}})


# For the eye.

LONG = Run(
    id="acme/lora/a", name="a", project="lora", status=JobStatus.COMPLETED, duration=75.0,
    config={"rank": 8, "lora": {"alpha": 16}, "seed": 1}, summary={"train": {"x": 1}, "train/loss": 0.25},
)  # fmt: skip
OTHER = Run(id="acme/lora/b", name="b", config={"rank": 16, "lora": {"alpha": 16}, "dora": True}, summary={})
CURVES = curves_of([{"step": step, "train/loss": 1 / step, "train/epoch": step / 10} for step in range(1, 11)])
SHORT = curves_of([{"step": 1, "train/loss": 0.5}])


def unstyled(table: tuple[Any, Any]) -> list[tuple[str, ...]]:
    """Headings and rows without colours."""
    return [tuple(click.unstyle(cell) for cell in row) for row in (table[0], *table[1])]


def test_list_says_nothing_twice() -> None:
    """What stands in the id has no column; one that holds nothing for anybody has none either."""
    named = Run(id="77", name="seven", project="lora")
    assert [
        ("ID", "STATUS", "CREATED", "DURATION", "LOSS"), ("acme/lora/a", "completed", "-", "1m15s", "0.25"),
    ] == unstyled(list_table([LONG]))  # fmt: skip
    assert [("ID", "NAME", "PROJECT", "STATUS", "CREATED", "DURATION"), ("77", "seven", "lora", "-", "-", "-")] == (
        unstyled(list_table([named]))
    )


def test_comparison_shows_what_differs() -> None:
    """Only those fields of the config; the best run is marked, where it is known what is better."""
    found = [(LONG, CURVES), (OTHER, SHORT)]
    assert [
        ("", "a", "b"), ("status", "completed", "-"), ("duration", "1m15s", "-"), ("rank", "8", "16"),
        ("seed", "1", "-"), ("dora", "-", "true"), ("train/loss last", "0.1", "0.5"),
        ("train/loss best", "0.1 @10 *", "0.5 @1"), ("train/epoch last", "1", "-"),
    ] == unstyled(comparison_table(found, ["train/loss", "train/epoch"]))  # fmt: skip
    told = compared(found, ["train/loss"])
    assert {"rank": [8, 16], "seed": [1, None], "dora": [None, True]} == told["config"]
    assert ("acme/lora/a", [0.1, 0.5]) == (
        told["metrics"]["train/loss"]["best_run"], [run["best"] for run in told["metrics"]["train/loss"]["runs"]],
    )  # fmt: skip


def test_names_of_others_move_no_cursor() -> None:
    """A run is called whatever its author likes: line breaks and what terminals obey are replaced."""
    odd = Run(id="a/b/c", name="one\ntwo \x1b[2Jthree", config={"no\nte": "a\tb"})
    rows = curves_of([{"step": 1, "lo\rss": 1.0}])
    texts = [
        *summary_lines(odd),
        *(
            cell
            for table in (
                list_table([odd]),
                metric_table(rows),
                comparison_table([(odd, rows), (LONG, CURVES)], ["lo\rss"]),
            )
            for row in (table[0], *table[1])
            for cell in row
        ),
    ]
    assert "one\ufffdtwo \ufffd[2Jthree" in texts
    assert "" == "".join(letter for text in texts for letter in click.unstyle(text) if not letter.isprintable())


def test_extreme_values_are_drawn_small() -> None:
    """What no float can tell apart from its opposite, and what is no number."""
    curves = curves_of([{"step": step, "loss": value} for step, value in enumerate((1e308, -1e308, 0.0, math.nan))])
    assert "█▁▅" == click.unstyle(metric_table(curves)[1][0][-1])
    assert ("", "▁█") == (sparkline([math.inf], 9), sparkline([1.0, math.nan, 2.0], 9))


def test_nobody_wins_alone() -> None:
    """The only run with a metric is not marked."""
    table = comparison_table([(LONG, CURVES), (OTHER, {})], ["train/loss"])
    assert ("train/loss best", "0.1 @10", "-") == unstyled(table)[-1]


def test_run_is_shown_whole() -> None:
    """Config and summary by dotted names, metrics with a small curve; JSON has null where there is no number."""
    lines = [click.unstyle(line) for line in summary_lines(LONG)]
    assert "  lora.alpha                   16" in lines
    assert "status             completed" in lines
    headings, first, _ = unstyled(metric_table(CURVES))
    assert ("METRIC", "LAST", "BEST", "ROWS", "CURVE") == headings
    assert ("train/loss", "0.1", "0.1 @10", "10") == first[:4]
    assert "█" == first[4][0]
    assert "▁" == first[4][-1]
    odd = Run(id="a", name="a", summary={"loss": math.nan, "all": [math.inf, 1]})
    assert {"loss": None, "all": [None, 1]} == json.loads(json.dumps(details(odd)["summary"], allow_nan=False))


def test_what_takes_long_is_told_on_a_terminal() -> None:
    """What is waited for and for how long, in one line that is gone at the end; not where nobody looks."""
    program = (
        "import asyncio; from peft_studio.cli.waiting import waited_for\n"
        "print(asyncio.run(waited_for(asyncio.sleep(0.1, 'done'), 'reading run a', every=0.01)))"
    )
    command = [sys.executable, "-c", program]
    quiet = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ("done\n", "") == (quiet.stdout, quiet.stderr)
    terminal, end = pty.openpty()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=end, check=True)
    os.close(end)
    seen = os.read(terminal, 10_000).decode()
    os.close(terminal)
    assert re.search(r"reading run a… \d+ s", seen)
    assert seen.endswith("\r\x1b[K")

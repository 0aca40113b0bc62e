"""Runs at W&B from the command line: listed, shown, compared and drawn, and what is said when that cannot be done."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from peft_studio import JobStatus, Ledger, RunBatch, RunRow, TrainingConfig
from peft_studio.queue import Queue, requests
from peft_studio.tracking.fold import Place
from peft_studio_wandb.connector import WandbConnector
from peft_studio_wandb.sandbox import WandbSandbox

from .conftest import Studio

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
PNG = b"\x89PNG"


@pytest.fixture
def tracker(studio: Studio) -> Iterator[WandbSandbox]:
    """W&B on loopback, whose key stands in the environment of commands."""
    with WandbSandbox() as sandbox:
        studio.environment |= sandbox.environment()
        yield sandbox


def write(tracker: WandbSandbox, name: str, losses: list[float], *, status: JobStatus, **config: Any) -> None:
    """A run that has come to its end."""
    rows = tuple(RunRow(step=step, time=NOON, metrics={"train/loss": loss}) for step, loss in enumerate(losses, 1))

    async def go() -> None:
        connector = WandbConnector()
        await connector.connect(tracker.credentials())
        run = await connector.start_run({"run_id": name, "display_name": f"{name} of qwen", **config})
        summary = {"train/loss": losses[-1]} if losses else {}
        await connector.log_batch(run, RunBatch(rows=rows, summary=summary, status=status))
        await connector.disconnect()

    tracker.clock.advance(60)
    asyncio.run(go())


@pytest.fixture
def two_runs(tracker: WandbSandbox) -> WandbSandbox:
    """A long run, and a short one that failed, in projects of their own."""
    losses = [1 / step for step in range(1, 41)]
    write(tracker, "ft-1", losses, status=JobStatus.COMPLETED, project_name="first", rank=8, seed=1)
    write(tracker, "ft-2", losses[:10], status=JobStatus.FAILED, project_name="second", rank=16, seed=1)
    return tracker


def test_runs_are_listed(studio: Studio, two_runs: WandbSandbox) -> None:
    """Newest first, of every project; or those that are asked for."""
    lines = studio("runs", "list", "wandb").stdout.splitlines()
    assert [["ID", "NAME"], ["jo/second/ft-2", "ft-2"], ["jo/first/ft-1", "ft-1"]] == [
        line.split()[:2] for line in lines
    ]
    assert "failed" in lines[1]
    assert lines[1].endswith("0.1")
    found = studio.json("runs", "list", "wandb", "--status", "completed", "--search", "QWEN", "--limit", "5")
    assert [("jo/first/ft-1", "completed", 0.025)] == [(run["id"], run["status"], run["loss"]) for run in found]


def test_run_is_shown(studio: Studio, two_runs: WandbSandbox, tmp_path: Path) -> None:
    """Its config, its metrics with a small curve, every row as JSON, and a picture."""
    shown = studio("runs", "show", "wandb", "ft-1 of qwen", "--plot", tmp_path / "loss.png").stdout
    assert f"{two_runs.url}/jo/first/runs/ft-1" in shown
    assert "0.025 @40  40    █" in shown
    assert PNG == (tmp_path / "loss.png").read_bytes()[:4]
    told = studio.json("runs", "show", "wandb", "jo/first/ft-1")
    assert ("ft-1 of qwen", 8, 0) == (told["name"], told["config"]["rank"], told["waiting_rows"])
    assert [{"step": step, "train/loss": 1 / step} for step in range(1, 41)] == told["metrics"]


def test_runs_are_compared(studio: Studio, two_runs: WandbSandbox, tmp_path: Path) -> None:
    """What differs in the configs, the better run marked, and curves over each other though one is shorter."""
    done = studio("runs", "compare", "wandb", "ft-1", "ft-2", "--plot", tmp_path / "both.svg")
    table = {name: cells for name, *cells in (re.split(r" {2,}", line) for line in done.stdout.splitlines())}
    assert (["8", "16"], ["0.025 @40 *", "0.1 @10"]) == (table["rank"], table["train/loss best"])
    assert "seed" not in table
    assert "<svg" in (tmp_path / "both.svg").read_text()
    told = studio.json("runs", "compare", "wandb", "ft-1", "ft-2", "--metric", "train/loss")
    assert "jo/first/ft-1" == told["metrics"]["train/loss"]["best_run"]
    refused = studio("runs", "compare", "wandb", "ft-1", "ft-2", "--metric", "train/los", code=3)
    assert "did you mean train/loss?" in refused.stderr


def test_what_cannot_be_shown_is_told(studio: Studio, tracker: WandbSandbox) -> None:
    """A connector that records nothing, an unknown run, no metrics, no key: one sentence each, and an exit code."""
    write(tracker, "empty", [], status=JobStatus.COMPLETED)
    assert "local does not record runs" in studio("runs", "list", "local", code=3).stderr
    assert "did you mean empty" in studio("runs", "show", "wandb", "emty", code=9).stderr
    assert "has no metrics yet" in studio("runs", "show", "wandb", "empty").stderr
    assert "no training steps to draw" in studio("runs", "show", "wandb", "empty", "--plot", "a.png", code=3).stderr
    del studio.environment["WANDB_API_KEY"]
    assert "api_key" in studio("runs", "list", "wandb", code=4).stderr


def test_rows_that_wait_are_told_offline(
    studio: Studio, tracker: WandbSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the tracker has not got is said before it is asked, and it need not be there for that."""
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(studio.home))
    config = TrainingConfig(base_model="model", dataset_path="data.jsonl", experiment_tracker=("wandb",))
    with Ledger() as ledger, Queue() as queue:
        job = ledger.new_tag(config)
        ledger.record_intent(job, "local", config)
        ledger.record_submitted(job, "1")
        queue.enqueue(requests.start_run("wandb", job, {}))
        queue.enqueue(requests.log_events("wandb", job, Place().to_dict(), Place(through=9, rows=7).to_dict()))
    waits = f"7 rows wait in the queue, of {job}; send them: peft-studio queue flush wandb"
    assert waits in studio("runs", "list", "wandb").stderr
    refused = studio("runs", "show", "wandb", job, code=9).stderr
    assert f"wandb does not have the run of {job} yet" in refused
    tracker.faults.add("reset_before", times=None)
    studio.environment["PEFT_STUDIO_HTTP_RETRIES"] = "0"
    assert waits in studio("runs", "list", "wandb", code=5).stderr

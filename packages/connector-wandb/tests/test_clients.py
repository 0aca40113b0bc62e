"""W&B's own SDK takes the sandbox for W&B."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from peft_studio import JobStatus, RunBatch, RunRow
from peft_studio_wandb.connector import WandbConnector

pytestmark = pytest.mark.slow

CLIENTS = Path(__file__).with_name("clients")
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def test_the_public_api_reads_back_what_a_run_wrote(sandbox, seen):
    """Every row once and in order, exactly; summary, config, console, files, state and what people see."""
    back = seen("online_run.py")
    losses = [(step, 1 / (step + 1), step // 10) for step in range(120)]
    assert losses == [(row["_step"], row["train/loss"], row["epoch"]) for row in back["scanned"]]
    assert losses == [(row["_step"], row["train/loss"], row["epoch"]) for row in back["columns"]]
    assert (10, "finished", ["lora", "qwen"]) == (back["sampled"], back["state"], back["tags"])
    assert {"train/loss", "epoch", "_step"} <= set(back["keys"])
    assert {"best": 0.01, "train/loss": 1 / 120} == back["summary"]
    assert {"learning_rate": 2e-4, "lora": {"r": 16}} == back["config"]
    assert ["qwen r16", "exp1", "train", "first", "jo"] == back["about"]
    assert "hello console" in back["console"]
    assert {"config.yaml", "output.log", "requirements.txt", "wandb-summary.json"} <= set(back["files"])
    assert "learning_rate:" in back["config file"]
    truth = sandbox.run("acme/lora-ft/ft-1")
    assert ([], 0) == (truth.history.replaced, truth.exitcode)
    assert set(back["files"]) == truth.uploaded
    assert not [each for each in sandbox.other_requests if "authorization" in each.headers]


def test_a_run_from_offline_is_synced_once(sandbox, run, api):
    """`wandb offline` needs no server; `wandb sync` brings all of it; once more, forced or not, changes nothing."""
    run("python", str(CLIENTS / "small_run.py"), WANDB_MODE="offline")
    assert [] == sandbox.requests
    run("wandb", "sync", "--yes")
    truth = sandbox.run("acme/lora-ft/small-1")
    assert [(step, 1 / (step + 1)) for step in range(50)] == [(row["_step"], row["loss"]) for row in truth.history.rows]
    assert ({"rank": 16}, "finished") == (sandbox.runs["small-1"].config, sandbox.runs["small-1"].status)
    before = len(sandbox.requests)
    run("wandb", "sync", "--yes")
    assert (before, []) == (len(sandbox.requests), truth.history.replaced)
    run("wandb", "sync", "--yes", "--include-synced")
    query = '{ project(name: "lora-ft", entityName: "acme") { run(name: "small-1") { history(samples: 999) } } }'
    history = api.post("/graphql", json={"query": query}).json()["data"]["project"]["run"]["history"]
    assert list(range(50)) == [json.loads(row)["_step"] for row in history]


def test_answers_that_are_lost_double_no_row(sandbox, run):
    """A reset after the rows arrived, a 503, a 429 with Retry-After: the SDK sends again; each row is there once."""
    for fault in ({"kind": "reset_after"}, {"kind": "status", "code": 503}):
        sandbox.faults.add(**fault, method="POST", path="/file_stream$")
    wait = {"headers": {"retry-after": "1"}, "body": {"error": "Filestream rate limit exceeded"}}
    sandbox.faults.add("status", "POST", "/file_stream$", code=429, **wait)
    run("python", str(CLIENTS / "small_run.py"))
    truth = sandbox.run("small-1")
    assert list(range(50)) == [row["_step"] for row in truth.history.rows]
    assert ([], 0) == (truth.history.replaced, truth.exitcode)
    assert 4 <= sandbox.count("POST", "/file_stream$")


def test_artifacts_are_stored_once_and_come_back(sandbox, seen):
    """Versions, names, deduplication by digest, use, listing, and a download that is verified, byte by byte."""
    assert {
        "first": "v0", "same": "v0", "changed": "v1", "used": "v0", "versions": ["v1", "v0"],
        "collections": ["my-adapter"], "logged": ["my-adapter:v0", "my-adapter:v1"], "creator": "writer",
        "used by reader": ["my-adapter:v0"], "bytes": 29997, "entry": '{"r": 16}', "golden": "v0", "left": ["v1"],
        "about": ["model", {"r": 16}, "the adapter", ["again", "best"], "COMMITTED"], "size": [2, 30006],
        "listed": ["adapter_config.json", "nested/adapter_model.safetensors"],
    } == seen("artifacts.py")  # fmt: skip
    puts = [each.path for each in sandbox.other_requests if each.method == "PUT" and "/artifacts/" in each.path]
    assert 3 == len(puts) == len(set(puts))
    assert not [each for each in sandbox.other_requests if "authorization" in each.headers]


def test_runs_are_resumed_found_changed_and_deleted(sandbox, seen):
    """A resumed run goes on at the next row; filters, order, pages; edits by the public API; a deleted run is gone."""
    back = seen("life.py")
    assert "Could not find run" in back.pop("deleted")
    assert {
        "projects": ["lora-ft"], "runs": ["life", "other", "third"], "newest first": ["third", "other", "life"],
        "filtered": ["life"], "of a state": ["other", "third"], "none": 0,
        "rows": [1 / (step + 1) for step in range(20)], "edited": [["edited"], 1, 0.5, "failed"],
    } == back  # fmt: skip
    life = sandbox.run("life")
    assert ([], 3, {"other"}) == (
        life.history.replaced, life.exitcode, sandbox.workspace.projects["acme", "lora-ft"].deleted,
    )  # fmt: skip
    streamed = [each.json() for each in sandbox.requests if each.path.endswith("/life/file_stream")]
    assert any(each.get("preempting") for each in streamed)


def test_the_stop_button_interrupts_the_program(sandbox, seen):
    """Within the 15 seconds between two looks of the SDK; the run says that it was stopped."""
    assert seen("stopped_run.py") is True
    assert sandbox.run("stopped").stopped


def test_the_public_api_reads_back_what_the_connector_wrote(sandbox, seen, tmp_path):
    """Rows once and in order, config, summary, state, and an adapter, byte by byte."""
    folder = tmp_path / "adapter"
    (folder / "deep").mkdir(parents=True)
    (folder / "adapter_config.json").write_text('{"r": 16}')
    (folder / "deep" / "notes.md").write_text("notes")
    rows = tuple(RunRow(step=step, time=NOON, metrics={"train/loss": 1 / (step + 1)}) for step in range(0, 2400, 2))
    config = {"run_id": "ours-1", "project_name": "lora", "display_name": "ours", "rank": 16}

    async def write() -> list[Any]:
        connector = WandbConnector()
        await connector.connect({**sandbox.credentials(), "entity": "acme"})
        await connector.start_run({**config, "run_id": "ours-0", "display_name": "before"})
        sandbox.clock.advance(5)
        run = await connector.start_run(config)
        for first in (0, 500, 500, 1000):
            last = JobStatus.COMPLETED if first == 1000 else None
            piece = rows[first : first + 500]
            await connector.log_batch(
                run, RunBatch(rows=piece, first_row=first, summary={"train/loss": 0.5}, status=last)
            )
        await connector.upload_artifact(str(folder), {"run_id": run})
        listed = await connector.list_runs("lora")
        found = await connector.list_runs("lora", status=JobStatus.COMPLETED, search="OUR")
        await connector.disconnect()
        return [[[run.id, run.name] for run in listed], [run.id for run in found]]

    ours = asyncio.run(write())
    assert [[["acme/lora/ours-1", "ours"], ["acme/lora/ours-0", "before"]], ["acme/lora/ours-1"]] == ours
    assert {
        "listed": ours[0], "found": ours[1],
        "rows": [[row.step, row.metrics["train/loss"]] for row in rows], "state": "finished", "name": "ours",
        "config": {"project_name": "lora", "rank": 16}, "summary": {"train/loss": 0.5, "job_status": "completed"},
        "artifact": ["v0", "model", "ours-1"],
        "files": {"adapter_config.json": '{"r": 16}', "deep/notes.md": "notes"},
    } == seen("read_ours.py")  # fmt: skip

"""A long run through a connection that fails, sent by programs that are killed: every row once, in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from peft_studio import JobEvent, Ledger, TrainingConfig
from peft_studio_testkit.sandbox.faults import Fault
from peft_studio_wandb.sandbox import WandbSandbox

pytestmark = pytest.mark.slow

STEPS = 50_000
KILLS = 6
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def events() -> Iterator[JobEvent]:
    """The log of a job: its steps, a line for every hundredth, and its end."""
    sequence = 0
    for step in range(1, STEPS + 1):
        sequence += 1
        at = NOON + timedelta(seconds=step)
        yield JobEvent(sequence=sequence, time=at, type="step", data={"step": step, "loss": 1 / step})
        if step % 100 == 0:
            sequence += 1
            data = {"level": "info", "message": f"step {step}"}
            yield JobEvent(sequence=sequence, time=at, type="log", data=data)
    yield JobEvent(sequence=sequence + 1, time=NOON, type="state", data={"status": "completed"})


def spoil(sandbox: WandbSandbox) -> list[Fault]:
    """Requests and answers get lost, and the platform is out of order, now and then, for as long as it takes."""
    faults = []
    for after in range(2, 60, 4):
        kind = ("reset_before", "reset_after", "status", "reset_after")[after // 4 % 4]
        how = {"code": 429 if after % 32 == 26 else 503} if kind == "status" else {}
        faults.append(sandbox.faults.add(kind, path="file_stream", after=after, **how))
    return faults


def test_every_row_arrives_once(
    tmp_path: Path, sandbox: WandbSandbox, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """50,000 rows, resets, 429, 503, a client that is killed again and again; and W&B's own SDK reads each once."""
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path))
    config = TrainingConfig(base_model="model", dataset_path="data.jsonl", experiment_tracker=("wandb",))
    with Ledger() as ledger:
        job = ledger.new_tag(config)
        ledger.record_intent(job, "local", config)
        ledger.record_submitted(job, "1")
        ledger.add_events(job, events())
    faults = spoil(sandbox)
    command = [sys.executable, str(Path(__file__).with_name("doomed_drainer.py"))]
    environment = {**os.environ, **sandbox.environment(), "PEFT_STUDIO_HTTP_RETRIES": "0"}
    ends = []
    for number in range(KILLS):
        seen = sandbox.count("POST", "file_stream")
        with subprocess.Popen(command, env=environment) as process:
            while sandbox.count("POST", "file_stream") < seen + 1 + number % 3 and process.poll() is None:
                time.sleep(0.005)
            process.kill()
        ends.append(process.returncode)
    subprocess.run(command, env=environment, check=True, timeout=120)
    assert [-signal.SIGKILL] * KILLS == ends
    assert {"reset_before", "reset_after", 429, 503} == {f.how.get("code", f.kind) for f in faults if f.hits}
    run = sandbox.run(job)
    assert list(range(1, STEPS + 1)) == [row["_step"] for row in run.history.rows]
    assert [1 / step for step in range(1, STEPS + 1)] == [row["train/loss"] for row in run.history.rows]
    assert ([], "finished") == (run.history.replaced, sandbox.runs[job].status)
    assert [f"step {step}" for step in range(100, STEPS + 1, 100)] == sandbox.runs[job].text
    back = request.getfixturevalue("seen")("read_rows.py", f"jo/peft-studio/{job}")
    assert ([[step, 1 / step] for step in range(1, STEPS + 1)], "finished") == (back["rows"], back["state"])

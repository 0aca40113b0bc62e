"""A Job whose worker really runs: it trains on this machine, its command ends it, and its end leaves nothing alive."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from peft_studio import JobStatus
from peft_studio_huggingface.connector import HuggingFaceConnector
from peft_studio_huggingface.sandbox import HuggingFaceSandbox
from peft_studio_huggingface.sandbox.machine import Machine, processes_of
from peft_studio_testkit.tiny_model import write_facts, write_tiny_model


@pytest.fixture
def machine(tmp_path) -> Iterator[Callable[..., tuple[Machine, list[str], list[int | None]]]]:
    """Runs a command as a Job would; what it said, and how it ended."""
    made: list[Machine] = []

    def start(*command: str, seconds: int = 60, **environment: str):
        said: list[str] = []
        ends: list[int | None] = []
        body = {"command": list(command), "timeoutSeconds": seconds, "environment": environment, "secrets": {"S": "x"}}
        made.append(Machine("job-1", body, tmp_path / "machine", said.append, ends.append))
        return made[-1], said, ends

    yield start
    for each in made:
        each.end()


def eventually(is_so: Callable[[], object]) -> None:
    """Within half a minute."""
    until = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_job_gets_what_it_was_given_and_nothing_of_ours(machine, monkeypatch):
    """Its variables and secrets, on a disk of its own; the token of whoever runs the sandbox is not among them."""
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_user")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    made, said, ends = machine("/bin/sh", "-c", "env; pwd", PEFT_STUDIO_WORKER_ROOT="/workspace/jobs", A="b")
    eventually(lambda: ends)
    assert [0] == ends
    assert {"A=b", "S=x", "JOB_ID=job-1", "HF_HUB_OFFLINE=1", f"PEFT_STUDIO_WORKER_ROOT={made.mount}/jobs"} <= {*said}
    assert not any("hf_of_the_user" in line for line in said)
    assert said[-1].endswith("/disk")


def test_its_end_takes_along_what_it_left_behind(machine):
    """Also what is in a session of its own."""
    _, _, ends = machine("/bin/sh", "-c", "setsid sleep 600 & exit 3")
    eventually(lambda: ends)
    assert [3] == ends
    assert [] == list(processes_of("job-1"))


def test_its_time_is_limited(machine):
    """Whatever it does."""
    _, _, ends = machine("/bin/sh", "-c", "sleep 600", seconds=1)
    eventually(lambda: ends)
    assert [None] == ends


@pytest.mark.slow
async def test_a_job_that_trains_is_cancelled(tmp_path, monkeypatch):
    """Its config is in the table as it arrived; the machine ends with all that ran on it, and the bill with it."""
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path / "home"))
    write_tiny_model(tmp_path / "tiny-model")
    with HuggingFaceSandbox(worker=True) as sandbox:
        changes = {"rank": 4, "max_steps": 3_000, "num_epochs": 3_000, "dtype": "float32"}
        config = sandbox.training_config(base_model=str(tmp_path / "tiny-model"), **changes)
        connector = HuggingFaceConnector()
        await connector.connect(sandbox.credentials())
        id = await connector.submit_job(config)
        job = sandbox.jobs[id]
        assert ({}, JobStatus.PENDING) == (job.received, job.status)
        await connector.feed_job(id, config)
        async for event in connector.stream_events(id):
            if event.type == "step":
                break
        assert (4, JobStatus.RUNNING) == (job.received["rank"], job.status)
        assert len(list(processes_of(id))) > 1
        assert await connector.end_rental(id)
        assert (JobStatus.CANCELLED, "CANCELED", {}) == (job.status, job.stage, sandbox.bills())
        assert [] == list(processes_of(id))
        await connector.disconnect()


@pytest.mark.slow
def test_run_on_the_sandbox_trains(tmp_path):
    """`run --on huggingface --sandbox` brings the adapter home."""
    model, facts = write_tiny_model(tmp_path / "tiny-model"), write_facts(tmp_path / "facts.jsonl")
    config = {"base_model": str(model), "dataset_path": str(facts), "rank": 4, "num_epochs": 1, "dtype": "float32"}
    (tmp_path / "job.json").write_text(json.dumps(config), encoding="utf-8")
    command = ["run", "job.json", "--on", "huggingface", "--sandbox", "--out", "adapter", "--json"]
    done = subprocess.run(
        [sys.executable, "-c", "from peft_studio.cli import main; main()", *command],
        cwd=tmp_path, env={**os.environ, "PEFT_STUDIO_HOME": str(tmp_path / "home")},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert 0 == done.returncode, done.stderr
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {
        path.name for path in (tmp_path / "adapter").iterdir()
    }

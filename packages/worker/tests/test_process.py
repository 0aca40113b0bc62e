"""The trainer as a process: its lines, its lifeline, its exit codes. `test_resume.py` has one that comes to its end."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest


def read_until(process: subprocess.Popen[str], kind: str) -> list[dict[str, Any]]:
    """Events up to the first one of this type."""
    events = []
    for line in process.stdout or ():
        events.append(json.loads(line))
        if events[-1]["type"] == kind:
            return events
    raise AssertionError(f"no {kind} event; stderr: {process.stderr.read() if process.stderr else ''}")


def rest(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """The events that are still to come, once the process has ended."""
    return [json.loads(line) for line in process.stdout or ()]


@pytest.fixture
def endless(make_job) -> Path:
    """A job that would take hours."""
    return make_job(num_epochs=10**6)


@pytest.mark.parametrize("way", ["line", "SIGTERM", "SIGINT"])
def test_stopped_in_good_order(way, endless, start_trainer) -> None:
    """Asked to stop, the trainer ends its step, writes a checkpoint and exits with 75."""
    trainer = start_trainer(endless)
    read_until(trainer, "step")

    if way == "line":
        trainer.stdin.write("stop\n")
        trainer.stdin.flush()
    else:
        trainer.send_signal(getattr(signal, way))

    events = rest(trainer)
    last_step = max((event["step"] for event in events if event["type"] == "step"), default=1)
    assert ("checkpoint", last_step) == (events[-1]["type"], events[-1]["step"])
    assert 75 == trainer.wait(60)


def test_dead_supervisor(endless, start_trainer) -> None:
    """When stdin closes the trainer ends at once: nobody would hear it any more."""
    trainer = start_trainer(endless)
    read_until(trainer, "step")

    trainer.stdin.close()

    assert 70 == trainer.wait(60)


def test_refused(make_job, start_trainer, tmp_path) -> None:
    """What cannot be trained is one error event with one sentence, and exit code 78."""
    trainer = start_trainer(make_job(dataset_path=str(tmp_path / "no.jsonl")))

    [*_, error] = rest(trainer)

    assert {
        "type": "error",
        "message": f"dataset {tmp_path / 'no.jsonl'} does not exist; check dataset_path",
        "problems": [],
        "resumable": False,
        "kind": "InvalidConfig",
    } == error
    assert 78 == trainer.wait(60)


def test_bad_rows_are_listed(make_job, start_trainer, tmp_path) -> None:
    """Each bad row is a problem of its own in the error event."""
    path = tmp_path / "bad.jsonl"
    path.write_text('{"prompt": "Q", "completion": "A"}\n{"prompt": "Q"}\n{"completion": "A"}\n', encoding="utf-8")

    [*_, error] = rest(start_trainer(make_job(dataset_path=str(path))))

    assert [
        f"{path}: line 2: completion is missing (prompt/completion format)",
        f"{path}: line 3: prompt is missing (prompt/completion format)",
    ] == error["problems"]


def test_not_a_job_folder(tmp_path, start_trainer) -> None:
    """An empty folder is refused too."""
    trainer = start_trainer(tmp_path)

    [*_, error] = rest(trainer)

    assert error["message"] == f"{tmp_path} is not a job folder: it has no job.json"
    assert 78 == trainer.wait(60)


def test_crashed(make_job, start_trainer, tmp_path) -> None:
    """A fault of ours is an error event, a traceback on stderr and exit code 1."""
    folder = make_job()
    (folder / "checkpoints" / "step-00000001" / "state.json").mkdir(parents=True)
    (folder / "job.json").unlink()
    (folder / "job.json").mkdir()
    trainer = start_trainer(folder)

    [*_, error] = rest(trainer)

    assert "the trainer crashed: IsADirectoryError" in error["message"]
    assert "Traceback" in trainer.stderr.read()
    assert 1 == trainer.wait(60)

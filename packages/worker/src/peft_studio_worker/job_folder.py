"""The folder of one job: what lies where, and who may write in it.

The lock is the kernel's, taken on `supervisor.lock` and inherited by the trainer. It is free exactly when no process of
the job is alive, so neither a reused process id, a reboot nor a zombie can make a dead job look alive.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import frozen

from peft_studio.models import JobEvent
from peft_studio.training_config import TrainingConfig
from peft_studio_worker.events import last_event


@frozen
class Request:
    """What a client or the machine wants of a supervisor: to "pause" or "cancel", and why."""

    action: str
    reason: str


@frozen
class JobFolder:
    """Paths and small files of a job."""

    path: Path

    @property
    def id(self) -> str:
        """The job's id is the folder's name."""
        return self.path.name

    @property
    def events(self) -> Path:
        """The event log."""
        return self.path / "events.jsonl"

    @property
    def inputs(self) -> Path:
        """Content-addressed data files."""
        return self.path / "inputs"

    @property
    def checkpoints(self) -> Path:
        """One folder per checkpoint, complete or absent."""
        return self.path / "checkpoints"

    @property
    def artifact(self) -> Path:
        """The adapter folder, complete or absent."""
        return self.path / "artifact"

    @property
    def supervisor_log(self) -> Path:
        """Last words of a supervisor that could not write an event."""
        return self.path / "supervisor.log"

    def read_job(self) -> dict[str, Any]:
        """`job.json`: id, created and config; hourly_rate and the dataset's original path where they are known."""
        job: dict[str, Any] = json.loads((self.path / "job.json").read_text(encoding="utf-8"))
        return job

    def read_config(self) -> TrainingConfig:
        """The job's config."""
        return TrainingConfig.from_dict(self.read_job()["config"])

    def write_job(self, job: Mapping[str, Any]) -> None:
        """Write `job.json` whole or not at all."""
        write_json(self.path / "job.json", job)

    def write_request(self, action: str, reason: str | None = None) -> None:
        """Ask the supervisor to "pause" or "cancel"; the log tells the reason."""
        write_json(self.path / "request.json", {"action": action, "reason": reason or f"asked to {action}"})

    def take_request(self) -> Request | None:
        """What was asked for, once."""
        request = self.path / "request.json"
        try:
            wanted = json.loads(request.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        request.unlink()
        return Request(wanted["action"], wanted["reason"])

    def last_state(self) -> JobEvent | None:
        """The newest state event, or None before the supervisor's first word."""
        return last_event(self.events, "state")

    def has_checkpoint(self) -> bool:
        """True when a stopped job can go on from where it was."""
        return self.checkpoints.is_dir() and any(self.checkpoints.glob("step-*"))

    def take_lock(self, patience: float = 0.0) -> int | None:
        """Take the job's lock and return its file descriptor, or None while a process of the job holds it.

        `patience` is how long to try, seconds.
        """
        descriptor = os.open(self.path / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(descriptor)
                    return None
                time.sleep(0.005)
            else:
                return descriptor

    def is_alive(self) -> bool:
        """True while a process of the job lives."""
        descriptor = self.take_lock()
        if descriptor is None:
            return True
        os.close(descriptor)
        return False


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a small JSON file whole or not at all, readable by its owner alone."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)

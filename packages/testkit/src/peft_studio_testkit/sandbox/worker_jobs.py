"""Jobs that are really run: the worker as a process of this machine, as it would run on the rented one.

Whatever the platform pretends, the training is real: the config as it arrived becomes the worker's job.json, its events
the log, its artifact the platform's files. A sandbox may take for granted that dataset and base model are on this
machine.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from abc import abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from peft_studio.lines import LineWriter
from peft_studio.models import JobEvent, JobStatus
from peft_studio.training_config import TrainingConfig
from peft_studio_testkit.sandbox.artifact import Files
from peft_studio_testkit.sandbox.clock import POLL
from peft_studio_testkit.sandbox.jobs import Job
from peft_studio_worker.events import EventTail
from peft_studio_worker.job_folder import JobFolder

#: Fields that are the client's business; a rented machine has neither its folders nor its trackers.
_CLIENTS_OWN: Final = ("output_dir", "provider", "resource_id", "experiment_tracker")


class FolderJob(Job):
    """A job folder on this machine, whoever works on it: log, artifact and reason are what the worker wrote there."""

    def __init__(self, id: str, tag: str | None, received: Mapping[str, Any], created: float, folder: Path) -> None:
        super().__init__(id, tag, received, created)
        self._lock = threading.RLock()
        self._lines: list[str] = []
        self._writer = LineWriter()
        self._folder = JobFolder(folder)
        self._tail = EventTail(self._folder.events)

    @property
    def reason(self) -> str | None:
        if self.status is not JobStatus.FAILED:
            return None
        state = self._folder.last_state()
        reason = None if state is None else state.data.get("reason")
        return str(reason) if reason else self._last_words()

    @property
    def lines(self) -> list[str]:
        with self._lock:
            new = (self._writer.line(event) for event in self._tail.read() if not _is_status(event))
            self._lines += [line for line in new if line is not None]
            return list(self._lines)

    @property
    def files(self) -> Files:
        return Files(self._folder.artifact if self.status is JobStatus.COMPLETED else None)

    def _last_words(self) -> str:
        try:
            said = self._folder.supervisor_log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except FileNotFoundError:
            said = []
        return f"the worker ended without a word; its last: {said[-1]}" if said else "the worker ended without a word"


class MachineJob(FolderJob):
    """A job folder on the disk of a rented machine: the worker there has been brought the job, and works on it."""

    @property
    @abstractmethod
    def is_gone(self) -> bool:
        """True when the machine is no more."""

    @property
    def received(self) -> dict[str, Any]:
        """The config as it was brought to the worker; empty before."""
        try:
            config: dict[str, Any] = self._folder.read_job()["config"]
        except FileNotFoundError:
            return {}
        return config

    @received.setter
    def received(self, value: dict[str, Any]) -> None:
        """It is the worker's."""

    @property
    def status(self) -> JobStatus:
        is_gone = self.is_gone  # before the log is read: nothing comes after
        state = self._folder.last_state()
        status = JobStatus.PENDING if state is None else JobStatus(state.data["status"])
        return JobStatus.CANCELLED if is_gone and not status.is_terminal else status


class WorkerJob(FolderJob):
    """A job folder, and the supervisor that works on it."""

    def __init__(self, id: str, tag: str | None, received: Mapping[str, Any], created: float, folder: Path) -> None:
        super().__init__(id, tag, received, created, folder)
        self._is_cancelled = False
        #: Number of the last state from before the job was resumed.
        self._stale = 0
        config = _config(received)
        folder.mkdir(parents=True)
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._folder.write_job({"id": id, "created": now, "config": config.to_dict()})
        self._process = self._start()

    @property
    def status(self) -> JobStatus:
        with self._lock:
            if self._is_cancelled:
                return JobStatus.CANCELLED
            has_ended = not self._is_alive()  # before the log is read: its last word is in it then
            state = self._folder.last_state()
            is_news = state is not None and state.sequence > self._stale
            status = JobStatus(state.data["status"]) if state is not None and is_news else JobStatus.PENDING
            is_lost = has_ended and status in (JobStatus.PENDING, JobStatus.RUNNING)
            return JobStatus.FAILED if is_lost else status

    def cancel(self) -> bool:
        with self._lock:
            if self.status.is_terminal:
                return False
            self._is_cancelled = True
            if self._is_alive():
                self._folder.write_request("cancel")
        return True

    def pause(self) -> bool:
        with self._lock:
            if self.status is not JobStatus.RUNNING:
                return False
            self._folder.write_request("pause")
        return True

    def resume(self) -> bool:
        with self._lock:
            if self.status is not JobStatus.PAUSED:
                return False
            self._process.wait()  # its last word was said a moment ago
            self._folder.take_request()
            before = self._folder.last_state()
            self._stale = 0 if before is None else before.sequence
            self._process = self._start()
        return True

    def end(self) -> None:
        """Kill the supervisor with its trainer, and remove everything."""
        if self._is_alive():
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        while self._folder.is_alive():  # the trainer takes a moment to let its memory go
            time.sleep(POLL)
        shutil.rmtree(self._folder.path, ignore_errors=True)

    def _start(self) -> subprocess.Popen[bytes]:
        """In a group of its own: Ctrl-C at a terminal is for the sandbox, which then ends its jobs."""
        with self._folder.supervisor_log.open("ab") as last_words:
            return subprocess.Popen(
                [sys.executable, "-m", "peft_studio_worker", "supervise", str(self._folder.path)],
                stdin=subprocess.DEVNULL,
                stdout=last_words,
                stderr=last_words,
                cwd=self._folder.path,
                start_new_session=True,
            )

    def _is_alive(self) -> bool:
        return self._process.poll() is None


def _is_status(event: JobEvent) -> bool:
    """Told by the platform itself; a reason is news."""
    return event.type == "state" and not event.data.get("reason")


def _config(received: Mapping[str, Any]) -> TrainingConfig:
    """What arrived as a config for the worker. Raises `InvalidConfig` with every fault."""
    values = {name: value for name, value in received.items() if name not in _CLIENTS_OWN}
    if "dataset_path" in values:
        values["dataset_path"] = str(Path(values["dataset_path"]).expanduser().absolute())
    return TrainingConfig.from_dict(values)

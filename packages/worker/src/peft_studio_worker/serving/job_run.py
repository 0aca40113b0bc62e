"""The job on its machine: accepted, started, stopped, resumed, and judged from its log and lock.

The supervisor is a process of its own and may outlive the one that serves. So nothing here is remembered that the job
folder does not tell, and only who holds the job's lock writes in its log: what the machine has to say waits until then.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from peft_studio.models import JobStatus
from peft_studio.redaction.masking import Mask
from peft_studio_worker.events import EventLog
from peft_studio_worker.job_folder import JobFolder
from peft_studio_worker.serving.event_index import EventIndex
from peft_studio_worker.serving.record import Record
from peft_studio_worker.supervisor import seconds_run

#: Seconds that a supervisor has for its first word.
FIRST_WORD: Final = 30.0
#: Seconds that its processes have to end after its last one.
LAST_BREATH: Final = 10.0
_GLANCE: Final = 0.02


class Conflict(Exception):
    """The state of the job forbids that."""


class JobRun:
    """One job folder. Threads may share it."""

    def __init__(self, folder: JobFolder, record: Record, mask: Mask) -> None:
        self.folder = folder
        self.record = record
        self.index = EventIndex(folder.events)
        self._mask = mask
        self._lock = threading.RLock()
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._unsaid: list[tuple[str, str]] = []
        self._hourly_rate: Decimal | None = None
        self._machine_created = math.inf

    @property
    def has_job(self) -> bool:
        """True once a job was accepted."""
        return (self.folder.path / "job.json").is_file()

    @property
    def status(self) -> JobStatus:
        """What the log says last."""
        self.index.refresh()
        state = self.index.last_state
        return JobStatus.PENDING if state is None else JobStatus(state.data["status"])

    @property
    def last_words(self) -> Mapping[str, Any]:
        """Fields of the last state."""
        state = self.index.last_state
        return {} if state is None else state.data

    @property
    def finished(self) -> float | None:
        """When the last state was written, seconds since the epoch."""
        state = self.index.last_state
        return None if state is None else state.time.timestamp()

    @property
    def hourly_rate(self) -> Decimal | None:
        """What the client has told with the job, US dollars an hour."""
        if self._hourly_rate is None and self.has_job:
            told = self.folder.read_job().get("hourly_rate")
            self._hourly_rate = None if told is None else Decimal(told)
        return self._hourly_rate

    @property
    def machine_created(self) -> float:
        """Since when the machine costs, which comes with the job; seconds since the epoch, infinite before."""
        if self._machine_created == math.inf and self.has_job:
            self._machine_created = datetime.fromisoformat(self.folder.read_job()["created"]).timestamp()
        return self._machine_created

    @property
    def has_artifact(self) -> bool:
        """True when the adapter is complete."""
        return (self.folder.artifact / "manifest.json").is_file()

    @property
    def is_alive(self) -> bool:
        """True while a process of the job lives."""
        with self._lock:
            if self._supervisor is not None:
                self._supervisor.poll()  # leaves no zombie
            return self.folder.is_alive()

    @property
    def is_over(self) -> bool:
        """True when the job will not change any more and everything about it is in the log."""
        return self.status.is_terminal and not self._unsaid and not self.is_alive

    def announce(self, message: str, level: str = "info") -> None:
        """Say something on stderr at once, and in the job's log as soon as that is free."""
        text = self._mask(message)
        sys.stderr.write(f"peft-studio-worker: {text}\n")
        sys.stderr.flush()
        with self._lock:
            self._unsaid.append((level, text))

    def settle(self) -> None:
        """Give a job whose processes died without a word its final state, and write what was announced."""
        with self._lock:
            is_running = self.status is JobStatus.RUNNING or (self.has_job and self.status is JobStatus.PENDING)
            if (not self._unsaid and not is_running) or self.is_alive:
                return
            if is_running:
                self._write_state(JobStatus.FAILED, self._cause_of_death(), resumable=True)
            self._say_it()

    def recover(self) -> None:
        """After a restart of the worker: go on with a job that was interrupted by the machine, and with no other."""
        with self._lock:
            if not self.has_job or self.is_alive:
                return
            status, stop = self.status, self.record.stop
            is_interrupted = status is JobStatus.RUNNING
            if status is JobStatus.PENDING or (status is JobStatus.PAUSED and stop == "machine"):
                self._start()
            elif is_interrupted and stop in ("pause", "cancel"):
                wished = JobStatus.PAUSED if stop == "pause" else JobStatus.CANCELLED
                self._write_state(wished, f"asked to {stop}", resumable=stop == "pause")
            elif is_interrupted and self.folder.has_checkpoint():
                self.announce("the worker was restarted: the job goes on from its last checkpoint")
                self._say_it()
                self._start()
            elif is_interrupted:
                reason = "the machine was restarted before the first checkpoint"
                self._write_state(JobStatus.FAILED, reason, resumable=True)

    def submit(self, job: Mapping[str, Any]) -> bool:
        """Accept a job and start it; False when it is here already. Raises `Conflict` for another one."""
        with self._lock:
            if self.has_job:
                kept = self.folder.read_job()
                if any(kept.get(name) != job.get(name) for name in ("config", "inputs")):
                    raise Conflict("this machine has another job")
                return False
            if self.status is not JobStatus.PENDING:
                raise Conflict(f"the job is {self.status}")
            self._say_it()
            self.folder.write_job({"id": self.folder.id, **job})
            self._start()
            return True

    def stop(self, action: str, reason: str | None = None) -> None:
        """Pause or cancel; what is so already is left so. Raises `Conflict` when the state forbids it."""
        with self._lock:
            self._let_it_end()
            if self.is_alive:
                self._remember_stop(action)
                self.folder.write_request(action, reason)
                return
            status = self.status
            if status is {"pause": JobStatus.PAUSED, "cancel": JobStatus.CANCELLED}[action]:
                return
            if action == "pause" or status.is_terminal:
                raise Conflict(f"the job is {status}, and cannot be made to {action}")
            self._remember_stop(action)
            self._write_state(JobStatus.CANCELLED, reason or "asked to cancel", resumable=False)

    def resume(self) -> None:
        """Let a paused or failed job go on. Raises `Conflict` when it cannot."""
        with self._lock:
            self._let_it_end()
            if self.is_alive and self.record.stop is None:
                return
            if self.is_alive:
                raise Conflict("the job is about to stop; ask again when it has")
            if self.status not in (JobStatus.PAUSED, JobStatus.FAILED) or not self.last_words.get("resumable"):
                raise Conflict(f"the job is {self.status} and cannot be resumed")
            self._start()

    def go_down(self, patience: float) -> None:
        """The machine is about to stop: write a checkpoint, and remember that nobody wished for this pause."""
        with self._lock:
            if not self.is_alive:
                return
            if not self.record.stop:
                self._remember_stop("machine")
                self.folder.write_request("pause", "the machine asked the job to stop")
        self._wait_for_end(patience)
        self.settle()

    def _let_it_end(self) -> None:
        """A supervisor that has said its last word takes a moment to end; nobody can ask it for anything any more."""
        if self.is_alive and self.status not in (JobStatus.RUNNING, JobStatus.PENDING):
            self._wait_for_end(LAST_BREATH)
        self.settle()

    def _wait_for_end(self, patience: float) -> None:
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and self.is_alive:
            time.sleep(_GLANCE)

    def _start(self) -> None:
        self._remember_stop(None)
        self.folder.take_request()
        lock = self.folder.take_lock(patience=1.0)
        if lock is None:
            raise Conflict("the job is running already")
        before = self.index.refresh()
        try:
            with self.folder.supervisor_log.open("ab") as last_words:
                self._supervisor = subprocess.Popen(
                    [sys.executable, "-m", "peft_studio_worker", "supervise", self.folder.path, "--lock-fd", str(lock)],
                    stdin=subprocess.DEVNULL,
                    stdout=last_words,
                    stderr=last_words,
                    cwd=self.folder.path,
                    pass_fds=(lock,),
                    start_new_session=True,
                )
        finally:
            os.close(lock)
        deadline = time.monotonic() + FIRST_WORD
        while self.index.refresh() == before and self.is_alive and time.monotonic() < deadline:
            time.sleep(_GLANCE)

    def _remember_stop(self, stop: str | None) -> None:
        self.record.stop = stop
        self.record.save()

    def _write_state(self, status: JobStatus, reason: str, *, resumable: bool) -> None:
        seconds = seconds_run(self.folder.events)
        rate = self.hourly_rate
        cost = None if rate is None else str((rate * Decimal(seconds) / 3600).quantize(Decimal("0.0001")))
        fields = {"status": status.value, "reason": reason, "resumable": resumable, "seconds": round(seconds, 3)}
        self._append([("state", {**fields, "cost": cost, "source": "machine"})])

    def _say_it(self) -> None:
        unsaid, self._unsaid = self._unsaid, []
        events = [("log", {"level": level, "message": text, "source": "machine"}) for level, text in unsaid]
        self._append(events)

    def _append(self, events: list[tuple[str, dict[str, Any]]]) -> None:
        if not events:
            return
        lock = self.folder.take_lock(patience=1.0)
        if lock is None:
            raise Conflict("the job is running")
        try:
            log = EventLog(self.folder.events)
            for kind, fields in events:
                log.append(kind, fields)
            log.close()
        finally:
            os.close(lock)

    def _cause_of_death(self) -> str:
        try:
            words = self.folder.supervisor_log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        except FileNotFoundError:
            words = []
        said = f"; its last words: {words[-1]}" if words else ""
        return self._mask(f"the supervisor ended without a word (killed or crashed){said}")

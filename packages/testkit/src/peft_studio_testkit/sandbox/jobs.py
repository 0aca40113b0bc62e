"""Jobs of the platform: a table of them, and the scripted job, whose whole life is a function of the clock."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen

from peft_studio.models import JobStatus
from peft_studio_testkit.sandbox.artifact import Files
from peft_studio_testkit.sandbox.clock import Clock
from peft_studio_testkit.sandbox.tables import Table

DEFAULT_LINES: Final = (
    "loading the base model",
    "step 1/3  loss 2.3104",
    "step 2/3  loss 1.8725",
    "step 3/3  loss 1.5511  — ünïcödé ✓ 日本語",
    "saving the adapter",
)

#: Differences of floating-point clock times below this are none, seconds.
_SAME: Final = 1e-9


@frozen(kw_only=True)
class Script:
    """How a job goes. The lines come evenly spread over the running time; the artifact is there at its end."""

    lines: tuple[str, ...] = field(default=DEFAULT_LINES, converter=tuple)
    #: The reason with which it ends in place of an artifact.
    fails: str | None = None
    #: Folder of the artifact.
    folder: Path | None = None
    pending_seconds: float = 5.0
    running_seconds: float = 60.0

    @property
    def total_seconds(self) -> float:
        """From the creation to the end."""
        return self.pending_seconds + self.running_seconds


class Job(ABC):
    """One job: what arrived, and what became of it so far."""

    def __init__(self, id: str, tag: str | None, received: Mapping[str, Any], created: float) -> None:
        self.id = id
        self.tag = tag
        #: What the platform was asked for, under the names of TrainingConfig, as it arrived.
        self.received = dict(received)
        #: On the platform's clock.
        self.created = created
        #: What the platform calls the status now; None is its usual word. Handlers prefer it to their own.
        self.word: str | None = None

    @property
    @abstractmethod
    def status(self) -> JobStatus:
        """The job's status now."""

    @property
    @abstractmethod
    def reason(self) -> str | None:
        """Why it failed, where it did."""

    @property
    @abstractmethod
    def lines(self) -> list[str]:
        """Every log line written so far."""

    @property
    @abstractmethod
    def files(self) -> Files:
        """The artifact; empty until the job is completed."""

    @abstractmethod
    def cancel(self) -> bool:
        """Stop it for good; False when it was over already."""

    @abstractmethod
    def pause(self) -> bool:
        """Stop it at a checkpoint; False unless it was running."""

    @abstractmethod
    def resume(self) -> bool:
        """Go on; False unless it was paused."""

    def end(self) -> None:  # noqa: B027 -- most hold nothing
        """Let go of whatever the job holds on this machine."""


class ScriptedJob(Job):
    """Goes as its script says, as the clock says. Nothing runs.

    One that is held waits until it is begun, as the job of a machine does until somebody has brought it there.
    """

    def __init__(
        self,
        id: str,
        tag: str | None,
        received: Mapping[str, Any],
        clock: Clock,
        script: Script,
        status: JobStatus,
        *,
        is_held: bool = False,
    ) -> None:
        super().__init__(id, tag, received, clock.now())
        self._clock = clock
        self._script = script
        self._lock = threading.RLock()
        self._stopped: JobStatus | None = status if status in (JobStatus.PAUSED, JobStatus.CANCELLED) else None
        #: Seconds of its life before `_since`, the moment from which it has been going on; None while it stands still.
        self._lived = self._seconds_before(status)
        self._since = None if self._stopped or is_held else self.created

    @property
    def is_held(self) -> bool:
        """True while it waits to be begun."""
        with self._lock:
            return self._stopped is None and self._since is None

    def begin(self, received: Mapping[str, Any]) -> bool:
        """Let a job that is held go, from now on, with what has arrived at last; False when it is not held."""
        with self._lock:
            if not self.is_held:
                return False
            self.received, self._since = dict(received), self._clock.now()
        self._clock.ring()
        return True

    @property
    def status(self) -> JobStatus:
        with self._lock:
            if self._stopped is not None:
                return self._stopped
            age = self._age() + _SAME
        if age < self._script.pending_seconds:
            return JobStatus.PENDING
        if age < self._script.total_seconds:
            return JobStatus.RUNNING
        return JobStatus.FAILED if self._script.fails is not None else JobStatus.COMPLETED

    @property
    def reason(self) -> str | None:
        return self._script.fails if self.status is JobStatus.FAILED else None

    @property
    def lines(self) -> list[str]:
        script = self._script
        with self._lock:
            age = self._age() + _SAME
        moments = [
            script.pending_seconds + script.running_seconds * number / len(script.lines)
            for number in range(len(script.lines))
        ]
        return list(script.lines[: bisect_right(moments, age)])

    @property
    def files(self) -> Files:
        return Files(self._script.folder if self.status is JobStatus.COMPLETED else None)

    def cancel(self) -> bool:
        with self._lock:
            if self.status.is_terminal:
                return False
            self._stop(JobStatus.CANCELLED)
        self._clock.ring()
        return True

    def pause(self) -> bool:
        with self._lock:
            if self.status is not JobStatus.RUNNING:
                return False
            self._stop(JobStatus.PAUSED)
        self._clock.ring()
        return True

    def resume(self) -> bool:
        with self._lock:
            if self.status is not JobStatus.PAUSED:
                return False
            self._stopped, self._since = None, self._clock.now()
        self._clock.ring()
        return True

    def seconds_until(self, status: JobStatus) -> float | None:
        """How long the clock must run until the job has that status; None when it will not have it by itself."""
        with self._lock:
            if status is self.status:
                return 0.0
            if self._stopped is not None or self._since is None:
                return None
            end = JobStatus.FAILED if self._script.fails is not None else JobStatus.COMPLETED
            moments = {JobStatus.RUNNING: self._script.pending_seconds, end: self._script.total_seconds}
            left = moments.get(status, -1.0) - self._age()
        return left if left >= 0 else None

    def _age(self) -> float:
        return self._lived + (0.0 if self._since is None else self._clock.now() - self._since)

    def _stop(self, status: JobStatus) -> None:
        self._lived = self._age()
        self._stopped, self._since = status, None

    def _seconds_before(self, status: JobStatus) -> float:
        if status is JobStatus.PENDING:
            return 0.0
        is_over = status in (JobStatus.COMPLETED, JobStatus.FAILED)
        return self._script.total_seconds if is_over else self._script.pending_seconds


class JobTable(Table[Job]):
    """One entry for each job that was ever created."""

    prefix = "job"

    def __init__(self, start: Callable[..., Job], seed: Callable[..., Job]) -> None:
        super().__init__()
        self._start = start
        self._seed = seed

    def add(
        self,
        received: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,
        tag: str | None = None,
        status: JobStatus | None = None,
        is_held: bool = False,
        **script: Any,
    ) -> Job:
        """Create a job, as a handler does with what arrived; it goes as `script` of the sandbox said.

        One that `is_held` stays pending until its `begin` is called, with what arrives then.
        To seed one, give its `status` or its script (`lines`, `fails`, `files`, `pending_seconds`, `running_seconds`).
        """
        values = received or {}
        tag = values.get("tag") if tag is None else tag
        with self._lock:
            job_id = self._free_id(id)
            if status is None and not script:
                job = self._start(job_id, tag, values, is_held=is_held)
            else:
                job = self._seed(job_id, tag, values, status or JobStatus.PENDING, script)
            return self._put(job_id, job)

    def with_tag(self, tag: str) -> list[Job]:
        """The jobs that were created with that tag: one at most, unless a create was repeated."""
        return [job for job in self.values() if job.tag == tag]

    def clear(self) -> None:
        with self._lock:
            for job in self._records.values():
                job.end()
            super().clear()

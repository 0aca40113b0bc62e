"""A job of the Hub: when it started and ended, what it cost time for, and the dates of its lines."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Final

from peft_studio.models import JobStatus
from peft_studio_huggingface.sandbox.timeline import date_text
from peft_studio_testkit.sandbox.jobs import Job, Script, ScriptedJob

STAGES: Final = {
    JobStatus.PENDING: "SCHEDULING",
    JobStatus.RUNNING: "RUNNING",
    JobStatus.COMPLETED: "COMPLETED",
    JobStatus.FAILED: "ERROR",
    JobStatus.CANCELLED: "CANCELED",
}
#: Seconds that a job may run when it does not say how long.
DEFAULT_TIMEOUT: Final = 1800
#: Differences of floating-point clock times below this are none, seconds.
_SAME: Final = 1e-9


def with_timeout(script: Script, received: Mapping[str, Any]) -> Script:
    """The script of a job that is ended when its time is up."""
    timeout = float(received.get("timeoutSeconds", DEFAULT_TIMEOUT))
    if timeout >= script.running_seconds:
        return script
    said = math.ceil(len(script.lines) * timeout / script.running_seconds)
    return Script(
        lines=script.lines[:said],  # type: ignore[arg-type]  # mypy does not see what `tuple` converts
        fails="Job timeout",
        folder=script.folder,
        pending_seconds=script.pending_seconds,
        running_seconds=timeout,
    )


class JobOfHub(Job):
    """What the routes ask of any job."""

    @property
    @abstractmethod
    def namespace(self) -> str:
        """Who pays."""

    @property
    @abstractmethod
    def asked(self) -> Mapping[str, Any]:
        """The body with which it was asked for."""

    @property
    @abstractmethod
    def stage(self) -> str:
        """The Hub's word for the status."""

    @property
    def is_gone(self) -> bool:
        """True when it neither waits nor runs: it costs nothing any more."""
        return self.stage not in ("SCHEDULING", "RUNNING")

    @property
    @abstractmethod
    def dated_lines(self) -> list[tuple[str, str]]:
        """Every line so far with its date."""

    @abstractmethod
    def document(self) -> dict[str, Any]:
        """As the Hub describes it; of secrets it tells the names."""


class HubJob(JobOfHub, ScriptedJob):
    """Goes as its script says; nothing runs."""

    def __init__(self, *details: Any, **named: Any) -> None:
        super().__init__(*details, **named)
        #: From when on it would have lived so long: before its creation for one that was seeded.
        self._born = self.created - self._lived
        self._ended: float | None = self.created if self.status is JobStatus.CANCELLED else None

    @property
    def namespace(self) -> str:
        return str(self.received.get("namespace", "me"))

    @property
    def asked(self) -> Mapping[str, Any]:
        return self.received

    @property
    def stage(self) -> str:
        return self.word or STAGES[self.status]

    @property
    def started(self) -> float | None:
        """On the platform's clock."""
        return self._moment(self._script.pending_seconds)

    @property
    def finished(self) -> float | None:
        """On the platform's clock."""
        if self.status is JobStatus.CANCELLED:
            return self._now()
        return self._moment(self._script.total_seconds)

    @property
    def dated_lines(self) -> list[tuple[str, str]]:
        """After the Hub's own first one."""
        if self.started is None:
            return []
        step = self._script.running_seconds / max(1, len(self._script.lines))
        date = date_text(self.started)
        first = (date, f"===== Job started at {date} =====")
        return [first, *((date_text(self.started + step * number), line) for number, line in enumerate(self.lines))]

    def cancel(self) -> bool:
        """Stop it for good; False when it was over already."""
        now = self._clock.now()
        if not super().cancel():
            return False
        self._ended = now
        return True

    def document(self) -> dict[str, Any]:
        received, started, finished = self.received, self.started, self.finished
        waited = (self._now() if started is None else started) - self.created
        ran = 0.0 if started is None else (self._now() if finished is None else finished) - started
        owner = {"id": self.namespace.encode().hex(), "name": self.namespace, "type": "user"}
        return {
            "id": self.id,
            "createdAt": date_text(self.created),
            "startedAt": None if started is None else date_text(started),
            "finishedAt": None if finished is None else date_text(finished),
            "dockerImage": received.get("dockerImage"),
            "spaceId": received.get("spaceId"),
            "command": received.get("command", []),
            "arguments": received.get("arguments", []),
            "environment": received.get("environment", {}),
            "secrets": list(received.get("secrets", {})),
            "flavor": received.get("flavor", "cpu-basic"),
            "labels": received.get("labels", {}),
            "volumes": received.get("volumes", []),
            "status": {"stage": self.stage, "message": self.reason, "failureCount": int(self.reason is not None)},
            "durations": {"schedulingSecs": round(waited), "runningSecs": round(ran), "totalSecs": round(waited + ran)},
            "owner": owner,
            "initiator": owner,
        }

    def _moment(self, age: float) -> float | None:
        """When it was that old; None while it is younger."""
        return self._born + age if self._age() + _SAME >= age else None

    def _now(self) -> float:
        return self._clock.now() if self._ended is None else self._ended

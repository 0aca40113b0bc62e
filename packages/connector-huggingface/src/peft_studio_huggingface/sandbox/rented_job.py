"""A Job of the Hub that is rented for a training: it runs until it is ended, and a worker is on its port.

Where the worker pretends, the training's own life is that of a scripted job. A start command that runs ends when its
worker asks it to; here a route of the sandbox stands for that, as none does.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from peft_studio.rented import bootstrap_script
from peft_studio.rented.machine import worker_token
from peft_studio_huggingface.sandbox.hub_job import HubJob, JobOfHub
from peft_studio_huggingface.sandbox.timeline import date_text
from peft_studio_testkit.sandbox.clock import Clock
from peft_studio_testkit.sandbox.scripted_worker import ScriptedWorker

_WORKER: Final = "PEFT_STUDIO_WORKER_"
JOB: Final = f"{_WORKER}JOB"
TAG: Final = "peft-studio"
#: The worker's, inside the machine.
PORT: Final = 8000


def is_for_a_training(body: Mapping[str, Any]) -> bool:
    """True for a job that is told to run the worker."""
    return JOB in body.get("environment", {}) and bootstrap_script() in body.get("command", [])


def seeded_body(tag: str, key: str) -> dict[str, Any]:
    """What would have been asked for, had a connector of ours done so."""
    environment = {JOB: tag, f"{_WORKER}PORT": str(PORT)}
    return {"flavor": "t4-small", "labels": {TAG: tag}, "environment": environment,
            "secrets": {f"{_WORKER}TOKEN": worker_token(key, tag)}}  # fmt: skip


class RentedJob(JobOfHub):
    """The Hub's part of it is `body`: the training's own comes later, through the worker."""

    body: dict[str, Any]
    #: With the date of each line.
    log: list[tuple[str, str]]
    _platform: Clock

    def set_up(self, body: Mapping[str, Any], clock: Clock, origin: Callable[[], str]) -> None:
        """Before anything else."""
        self.body, self.log, self._platform, self._origin = dict(body), [], clock, origin
        #: Stage, why, and when.
        self._over: tuple[str, str | None, float] | None = None

    @property
    @abstractmethod
    def open_port(self) -> int | None:
        """The real port on which its worker listens, 0 for one in this process; None while nobody does."""

    @abstractmethod
    def finish(self, stage: str) -> None:
        """The machine is gone, and with it a training that was not over."""

    @property
    def asked(self) -> Mapping[str, Any]:
        return self.body

    @property
    def stage(self) -> str:
        if self.word:
            return self.word
        return "RUNNING" if self._over is None else self._over[0]

    @property
    def namespace(self) -> str:
        return str(self.body.get("namespace", "me"))

    @property
    def dated_lines(self) -> list[tuple[str, str]]:
        return list(self.log)

    def document(self) -> dict[str, Any]:
        over = self._over
        end = None if over is None else over[2]
        seconds = round((self._platform.now() if end is None else end) - self.created)
        is_open = over is None and self.open_port is not None
        urls = [f"{self._origin()}/exposed/{self.id}-{PORT}"] if is_open else None
        owner = {"id": self.namespace.encode().hex(), "name": self.namespace, "type": "user"}
        kept = {key: self.body.get(key) for key in ("dockerImage", "command", "environment", "flavor", "labels")}
        message = None if over is None else over[1]
        return {
            **kept,
            "id": self.id,
            "createdAt": date_text(self.created),
            "startedAt": date_text(self.created),
            "finishedAt": None if end is None else date_text(end),
            "secrets": list(self.body.get("secrets", {})),
            "status": {"stage": self.stage, "message": message, "failureCount": 0, "exposeUrls": urls},
            "durations": {"schedulingSecs": 0, "runningSecs": seconds, "totalSecs": seconds},
            "owner": owner,
            "initiator": owner,
        }

    def leave(self, stage: str, why: str | None = None) -> None:
        """The machine is gone."""
        self._over = (stage, why, self._platform.now())
        self._platform.ring()

    def say(self, line: str) -> None:
        """Into the log that the Hub shows."""
        self.log.append((date_text(self._platform.now()), line))
        self._platform.ring()


class PretendingJob(RentedJob, HubJob):
    """Its training goes as its script says, and its worker is in this process."""

    def __init__(self, *details: Any, body: Mapping[str, Any], origin: Callable[[], str], **named: Any) -> None:
        HubJob.__init__(self, *details, **named)
        self.set_up(body, self._clock, origin)
        self.worker: ScriptedWorker | None = None

    def serve(self, folder: Path) -> None:
        """Let its worker listen."""
        ended = [{"method": "POST", "url": f"{self._origin()}/ended/{self.id}", "accept": [204]}]
        environment = {**self.body["environment"], **self.body["secrets"], f"{_WORKER}TEARDOWN": json.dumps(ended)}
        self.worker = ScriptedWorker(self, environment, folder, self.say)

    @property
    def open_port(self) -> int | None:
        return 0 if self.worker is not None and self.worker.listens_at(PORT) else None

    def finish(self, stage: str) -> None:
        """While a training cannot be cancelled, it stays."""
        self.cancel()
        if self._over is not None or not self.status.is_terminal:
            return
        if self.worker is not None:
            self.worker.end()
        self.leave(stage)

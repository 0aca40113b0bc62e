"""The worker of a rented machine that pretends to train: its real HTTP API, over a job that goes as its script says.

What accepts uploads, numbers events, serves the artifact and refuses what the state forbids is the code of
`peft-studio-worker serve` itself, so that a client cannot tell the difference. There is no process, which makes a
machine a matter of milliseconds; and no watchdog, as its limits are matters of hours. A sandbox of rented machines
answers the worker's port with a `ScriptedWorker`; it needs the testkit's extra `rented`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attrs import evolve
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from peft_studio.artifacts import MANIFEST_NAME, Manifest
from peft_studio.errors import InvalidConfig
from peft_studio.models import JobStatus
from peft_studio.redaction.masking import Mask
from peft_studio_testkit.sandbox.jobs import ScriptedJob
from peft_studio_worker.job_folder import JobFolder
from peft_studio_worker.serving.api import application
from peft_studio_worker.serving.job_run import JobRun
from peft_studio_worker.serving.machine import Machine
from peft_studio_worker.serving.record import Record
from peft_studio_worker.serving.settings import Settings
from peft_studio_worker.serving.teardown import try_all

#: Hears what the worker writes to its stderr, which a platform shows as the log of the machine.
Say = Callable[[str], None]


class ScriptedWorker:
    """An ASGI application: what listens on the worker's port of one machine.

    `environment` is the machine's own, as the worker would read it; `folder` holds what would be on its mount. A
    machine whose environment the worker cannot use says so, and never answers.
    """

    def __init__(self, job: ScriptedJob, environment: Mapping[str, str], folder: Path, say: Say) -> None:
        self._job = job
        self._say = say
        self._lock = threading.Lock()
        self._machine: ScriptedMachine | None = None
        self._application: ASGIApp | None = None
        self._closing = asyncio.Event()
        self._is_up = True
        try:
            self._settings: Settings | None = evolve(Settings.take(dict(environment)), root=folder)
        except InvalidConfig as error:
            self._settings = None
            say(f"peft-studio-worker: {error}")

    def listens_at(self, port: int) -> bool:
        """False while the machine is stopped, when the worker could not start, and for any other port."""
        return self._is_up and self._settings is not None and self._settings.port == port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, whose path is the worker's own. Only where it listens."""
        served = await asyncio.to_thread(self._served)
        if scope["method"] == "GET":
            await _while_somebody_listens(served, scope, receive, send)
        else:
            await served(scope, receive, send)

    def stop(self) -> None:
        """The machine is stopped: open requests end, and a job that runs is paused."""
        self._closing.set()
        with self._lock:
            self._is_up = False
            if self._settings is not None:
                self._made(self._settings).go_down()

    def start(self) -> None:
        """It runs again: a job that was paused by the stop goes on."""
        with self._lock:
            self._closing, self._application, self._is_up = asyncio.Event(), None, True
            if self._settings is not None:
                self._made(self._settings).wake()

    def end(self) -> None:
        """It is gone."""
        self._closing.set()
        self._is_up = False

    def _served(self) -> ASGIApp:
        with self._lock:
            assert self._settings is not None, "nobody listens there"
            if self._application is None:
                machine = self._made(self._settings)
                self._application = application(machine, self._settings.token, self._closing)
            return self._application

    def _made(self, settings: Settings) -> ScriptedMachine:
        """Made when it is first needed: most machines of a long list never are."""
        if self._machine is None:
            self._machine = ScriptedMachine(settings, self._job, self._say)
            self._machine.wake()
        return self._machine


class ScriptedMachine(Machine):
    """A machine without a watchdog. It ends itself when its client has said that it may, by its own recipe."""

    def __init__(self, settings: Settings, job: ScriptedJob, say: Say) -> None:
        super().__init__(settings, time.time)
        self._say = say
        self.run = ScriptedRun(self.run.folder, self._record, settings.mask, job, say)

    def manifest(self) -> bytes:
        """As the real one, of a job that may have ended since it was last looked at."""
        self.run.settle()
        return super().manifest()

    def acknowledge(self, manifest: str) -> None:
        """The client has the artifact: end the machine at once."""
        super().acknowledge(manifest)
        self._leave("the client has the artifact")

    def abandon(self) -> None:
        """The client wants nothing: end the machine at once."""
        super().abandon()
        self._leave("the client gave the job up")

    def _leave(self, reason: str) -> None:
        self._give_up(reason)
        fault = try_all(self._settings.teardown, self._settings.secrets)
        if fault is not None:
            self._say(f"peft-studio-worker: the machine could not be torn down: {fault}")


class ScriptedRun(JobRun):
    """A job folder whose event log is written from a scripted job, whenever somebody looks."""

    def __init__(self, folder: JobFolder, record: Record, mask: Mask, job: ScriptedJob, say: Say) -> None:
        super().__init__(folder, record, mask)
        self._job = job
        self._say = say
        #: So many lines of the job are in the event log.
        self._told = 0
        if not job.is_held and not self.has_job:  # it was begun before anybody could ask: a sandbox was seeded with it
            folder.write_job({"id": folder.id, "config": job.received, "inputs": []})

    @property
    def status(self) -> JobStatus:
        """What the log says last, when all has been written that happened."""
        self.settle()
        return super().status

    @property
    def is_alive(self) -> bool:
        """True while the job waits or runs."""
        self.settle()
        return self.has_job and self._job.status in (JobStatus.PENDING, JobStatus.RUNNING)

    def announce(self, message: str, level: str = "info") -> None:
        """Say it where the platform shows it; the job's own log has its lines, and nothing else."""
        self._say(f"peft-studio-worker: {message}")

    def stop(self, action: str, reason: str | None = None) -> None:
        """As the real one, and at once."""
        with self._lock:
            super().stop(action, reason)
            if action == "pause":
                self._job.pause()
            else:
                self._job.cancel()
            self.settle()

    def go_down(self, patience: float) -> None:
        """Pause the job, unless it was asked to stop anyway."""
        with self._lock:
            if self.is_alive and not self.record.stop:
                self._remember_stop("machine")
                self._job.pause()
                self.settle()

    def settle(self) -> None:
        """Write what has happened since the last look."""
        with self._lock:
            if not self.has_job:
                return
            status, lines = self._job.status, self._job.lines  # in this order: all that was said until then
            said, new = super().status, lines[self._told :]
            events: list[tuple[str, dict[str, Any]]] = []
            has_run = new or status in (JobStatus.RUNNING, JobStatus.COMPLETED, JobStatus.FAILED)
            if said not in (JobStatus.RUNNING, status) and has_run:
                events, said = [self._state(JobStatus.RUNNING)], JobStatus.RUNNING
            events += [("log", {"level": "info", "message": line, "source": "trainer"}) for line in new]
            self._told = len(lines)
            if status is JobStatus.COMPLETED and said is not status:
                events.append(self._keep_artifact())
            if said is not status:
                events.append(self._state(status))
            self._append(events)

    def _state(self, status: JobStatus) -> tuple[str, dict[str, Any]]:
        is_paused = status is JobStatus.PAUSED
        reason = self._job.reason if status is JobStatus.FAILED else None
        return "state", {"status": status.value, "reason": reason, "resumable": is_paused}

    def _keep_artifact(self) -> tuple[str, dict[str, Any]]:
        folder = self._job.files.folder
        assert folder is not None, "a job that is completed has an artifact"
        self.folder.artifact.symlink_to(folder)
        manifest = Manifest.from_json((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        return "artifact", {
            "path": str(self.folder.artifact),
            "size": manifest.size,
            "manifest_sha256": manifest.sha256,
        }

    def _start(self) -> None:
        """In place of a supervisor."""
        self._remember_stop(None)
        if not self._job.begin(self.folder.read_job()["config"]):
            self._job.resume()
        self.settle()


async def _while_somebody_listens(served: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request that has no body, and stop when its client goes away, whatever it waits for."""

    async def silence() -> Message:
        return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]  # which never comes

    answering = asyncio.ensure_future(_run(served, scope, silence, send))
    leaving = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait([answering, leaving], return_when=asyncio.FIRST_COMPLETED)
        if answering.done():
            answering.result()
    finally:
        answering.cancel()
        leaving.cancel()
        await asyncio.gather(answering, leaving, return_exceptions=True)


async def _run(served: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await served(scope, receive, send)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

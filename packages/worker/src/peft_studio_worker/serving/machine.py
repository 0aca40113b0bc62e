"""A rented machine: one job, one client that may vanish, limits, and an end that it brings about itself."""

from __future__ import annotations

import asyncio
import hashlib
import math
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from peft_studio.models import JobStatus
from peft_studio_worker import __version__
from peft_studio_worker.job_folder import JobFolder
from peft_studio_worker.serving.inputs import InputStore
from peft_studio_worker.serving.job_run import Conflict, JobRun
from peft_studio_worker.serving.push import push
from peft_studio_worker.serving.record import Record
from peft_studio_worker.serving.settings import Settings
from peft_studio_worker.serving.teardown import try_all
from peft_studio_worker.serving.visits import Visits
from peft_studio_worker.serving.watchdog import Decision, Limits, Pause, PushArtifact, Seen, TearDown, Watchdog

#: Seconds between two looks at the job and the clock.
TICK: Final = 0.2
#: Seconds between two notes that the machine is there, although its job has stopped.
PRESENCE: Final = 60.0
#: Seconds from a machine's creation to the first start of its worker, at the very most.
_LONGEST_START: Final = 86_400.0
#: Seconds that a job has to write its checkpoint when the machine goes down.
GO_DOWN_PATIENCE: Final = 30.0


class Machine:
    """What the HTTP API and the watchdog work on. `clock` gives seconds since the epoch."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        folder = JobFolder(settings.root / settings.job_id)
        folder.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._settings = settings
        self._clock = clock
        self._started = clock()
        self._record = Record.read(folder.path, self._started)
        self._watchdog = Watchdog(settings.wait, settings.keep, settings.retry, settings.push is not None)
        self._is_pausing = False
        self.run = JobRun(folder, self._record, settings.mask)
        self.inputs = InputStore(folder.inputs)
        self.visits = Visits(clock)

    @property
    def is_tearing_down(self) -> bool:
        """True once there is no way back."""
        return self._record.over is not None

    @property
    def limits(self) -> Limits:
        """How long this machine may live."""
        settings, record = self._settings, self._record
        told = math.inf if settings.created is None else settings.created.timestamp()
        began = min(record.first_start, told, self._created_by_client()) + record.stood_still
        return Limits(began, settings.deadline, settings.max_cost, self._hourly_rate())

    def wake(self) -> None:
        """Begin, or begin again after a restart. Raises `OSError` when the job folder cannot be written."""
        self._note_standstill()
        if self._record.over is not None:
            self.run.announce(f"the worker was restarted after the job was over ({self._record.over})")
        elif not self.run.has_job:
            self.run.announce(f"worker {__version__} waits for its job")
        else:
            self.run.recover()
        if self._settings.max_cost is not None and self.limits.hourly_rate is None:
            self.run.announce("nobody has told the hourly rate: the maximum cost cannot be kept", "warning")
        self.run.settle()

    async def live(self) -> None:
        """Look after the job until the machine must end, and end it."""
        while not self.is_tearing_down:
            try:
                await self._step()
            except Exception as error:  # noqa: BLE001 -- a full disk, for one, must not keep the machine alive for ever
                self.run.announce(f"the machine's watchdog met {type(error).__name__}: {error}", "error")
                self._end_if_late()
                await asyncio.sleep(self._settings.retry)
            await asyncio.sleep(TICK)
        await self._tear_down()

    def document(self) -> dict[str, Any]:
        """What `GET /v1/job` says."""
        run, limits, now = self.run, self.limits, self._clock()
        status, said = run.status, run.last_words
        return {
            "id": run.folder.id,
            "state": status.value,
            "has_job": run.has_job,
            "reason": said.get("reason"),
            "resumable": bool(said.get("resumable", False)),
            "last_sequence": run.index.last_sequence,
            "artifact": run.has_artifact,
            "acknowledged": self._record.acknowledged is not None,
            "started": _text(limits.began),
            "now": _text(now),
            "ends_by": _text(limits.ends_by),
            "hourly_rate": _plain(limits.hourly_rate),
            "cost": _plain(limits.cost(now)),
            "tearing_down": self.is_tearing_down,
        }

    def submit(self, job: Mapping[str, Any]) -> bool:
        """Accept the job and start it; False when it is here already. Raises `Conflict`."""
        self._require_life()
        return self.run.submit(job)

    def stop(self, action: str) -> None:
        """Pause or cancel the job. Raises `Conflict`."""
        self.run.stop(action)

    def resume(self) -> None:
        """Let the job go on. Raises `Conflict`."""
        self._require_life()
        limits = self.limits
        if limits.pause_by is not None and self._clock() >= limits.pause_by:
            raise Conflict(f"{limits.reason} is near")
        self.run.resume()

    def acknowledge(self, manifest: str) -> None:
        """The client has the artifact with that manifest. Raises `Conflict` when it is another one."""
        if not self.run.has_artifact or not self.run.status.is_terminal:
            raise Conflict(f"the job is {self.run.status} and has no artifact yet")
        if hashlib.sha256(self.manifest()).hexdigest() != manifest:
            raise Conflict("the artifact has another manifest")
        self._acknowledged(manifest)

    def abandon(self) -> None:
        """The client does not want the job or its artifact. Raises `Conflict` while the job runs."""
        if self.run.is_alive and self.run.status in (JobStatus.PENDING, JobStatus.RUNNING):
            raise Conflict("the job is running; cancel it first")
        self._acknowledged("abandoned")

    def manifest(self) -> bytes:
        """The artifact's manifest as it stands on the disk. Raises `FileNotFoundError` before there is one."""
        return (self.run.folder.artifact / "manifest.json").read_bytes()

    def go_down(self) -> None:
        """The platform stops the machine: leave a checkpoint."""
        self.run.go_down(GO_DOWN_PATIENCE)

    def _require_life(self) -> None:
        if self._record.over is not None:
            raise Conflict(f"the machine is being torn down: {self._record.over}")

    def _acknowledged(self, what: str) -> None:
        if self._record.acknowledged is None:
            self._record.acknowledged = what
            self._record.save()

    async def _step(self) -> None:
        match await asyncio.to_thread(self._look):
            case Pause(reason) if not self._is_pausing:
                self._is_pausing = True
                await asyncio.to_thread(self._pause, reason)
            case PushArtifact(reason, patience):
                await self._push(reason, patience)
            case TearDown(reason):
                await asyncio.to_thread(self._give_up, reason)

    def _created_by_client(self) -> float:
        """No machine is a day old when its worker first starts: then the clocks differ, or the mount is new."""
        created = self.run.machine_created
        return created if self._record.first_start - created < _LONGEST_START else math.inf

    def _end_if_late(self) -> None:
        """The limits hold also when nothing else can be known of the job, or written down."""
        limits = self.limits
        if limits.ends_by is not None and self._clock() >= limits.ends_by:
            self._record.over = f"{limits.reason} is reached"
            self.run.announce(f"the machine ends: {self._record.over}")

    def _note_standstill(self) -> None:
        """Time in which the machine was switched off, its job stopped, is no part of its life: it costs little."""
        status, stopped, record = self.run.status, self.run.finished, self._record
        if stopped is not None and status not in (JobStatus.PENDING, JobStatus.RUNNING):
            record.stood_still += max(0.0, self._started - max(stopped, record.last_seen) - PRESENCE)
            self._note_presence(self._started)

    def _note_presence(self, now: float) -> None:
        self._record.last_seen = now
        self._record.save()

    def _look(self) -> Decision | None:
        self.run.settle()
        now, run = self._clock(), self.run
        is_alive = run.is_alive
        seen = Seen(
            now=now,
            started=self._started,
            last_input=self.visits.last_input,
            last_request=self.visits.last,
            is_alive=is_alive,
            stopped=None if is_alive else run.finished,
            has_artifact=run.has_artifact,
            is_pushed=self._record.is_pushed,
            failed_pushes=self._record.failed_pushes,
            push_failed=self._record.push_failed,
            acknowledged=self._record.acknowledged,
        )
        if seen.stopped is not None and now - self._record.last_seen >= PRESENCE:
            self._note_presence(now)
        return self._watchdog.decide(self.limits, seen)

    def _pause(self, reason: str) -> None:
        try:
            self.run.stop("pause", reason)
        except Conflict:  # it has ended at this very moment
            return

    def _give_up(self, reason: str) -> None:
        """Decide for the end, so that a restarted container decides the same."""
        self._record.over = reason
        self._record.save()
        self.run.announce(f"the machine ends: {reason}")
        self.run.settle()

    async def _push(self, reason: str, patience: float) -> None:
        wanted = self._settings.push
        assert wanted is not None
        self.run.announce(f"pushing the artifact to {wanted.repo_id}: {reason}")
        token = self._settings.secrets.get(wanted.token_env)
        pushing = asyncio.to_thread(push, self.run.folder.artifact, wanted, token)
        try:
            address = await asyncio.wait_for(pushing, patience)
            self.run.announce(f"pushed the artifact: {address}")
            self._record.is_pushed = True
        except ImportError:
            self.run.announce("the artifact cannot be pushed: huggingface_hub is not installed here", "error")
            self._record.is_pushed = True
        except TimeoutError:
            self._note_failed_push(f"it took more than {patience:g} s")
        except Exception as error:  # noqa: BLE001 -- whatever the library meets, the machine must end
            self._note_failed_push(f"{type(error).__name__}: {error}")
        await asyncio.to_thread(self._record.save)

    def _note_failed_push(self, why: str) -> None:
        self._record.failed_pushes += 1
        self._record.push_failed = self._clock()
        pause = self._watchdog.pause(self._record.failed_pushes)
        again = "" if pause is None else f"; another attempt follows after {pause:g} s, where the limits allow it"
        self.run.announce(f"the artifact could not be pushed: {why}{again}", "error")

    async def _tear_down(self) -> None:
        settings, told = self._settings, None
        if not settings.teardown:
            self.run.announce("there is no teardown recipe: the client must end this machine", "warning")
            await self._rest(math.inf)
        while (fault := await asyncio.to_thread(try_all, settings.teardown, settings.secrets)) is not None:
            if fault != told:
                again = f"the machine could not be torn down, trying again every {settings.retry:g} s"
                self.run.announce(f"{again}: {fault}", "warning")
            told = fault
            await self._rest(settings.retry)
        self.run.announce("the platform has accepted the teardown of this machine")
        await self._rest(math.inf)

    async def _rest(self, seconds: float) -> None:
        """Wait, and write meanwhile what could not be written before: the job's last processes may still be ending."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            try:
                await asyncio.to_thread(self.run.settle)
            except Exception as error:  # noqa: BLE001 -- a full disk, or a log that is damaged, must not end the teardown
                sys.stderr.write(f"peft-studio-worker: the log cannot be written: {error}\n")
            await asyncio.sleep(min(TICK, seconds))

    def _hourly_rate(self) -> Decimal | None:
        told = self.run.hourly_rate
        return self._settings.hourly_rate if told is None else told


def _text(moment: float | None) -> str | None:
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount)

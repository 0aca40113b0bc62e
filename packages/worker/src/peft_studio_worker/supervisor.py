"""The supervisor: owns one job's training process, from start to a final state with a reason.

It is small and imports nothing heavy, so that its first words are in the log a moment after the submission. It turns
what the trainer says into numbered events, passes on requests to pause or cancel, and keeps the limits of time and
money. When it dies, the trainer's standard input ends, and the trainer ends with it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

from peft_studio.artifacts import copy_verified
from peft_studio.errors import PeftStudioError
from peft_studio.models import JobEvent, JobStatus
from peft_studio_worker.events import EventLog, EventTail
from peft_studio_worker.job_folder import JobFolder

DONE, LIFELINE_LOST, STOPPED, REFUSED = 0, 70, 75, 78

#: Seconds between two looks at the request file and the clock.
TICK = 0.05
#: Seconds that a cancelled trainer has to end by itself.
CANCEL_GRACE = 5.0
#: Seconds that a trainer past its limit has to reach a step boundary and write its checkpoint.
LIMIT_GRACE = 60.0


class Supervisor:
    """One run of one job."""

    def __init__(self, folder: JobFolder, lock: int) -> None:
        self._folder = folder
        self._lock = lock
        self._job = folder.read_job()
        self._log = EventLog(folder.events)
        self._spent_before = seconds_run(folder.events)
        self._started = time.monotonic()
        self._deadline, self._limit = self._first_limit()
        self._kill_at: float | None = None
        self._wanted: str | None = None
        self._signalled = False
        self._has_stepped = False
        self._error: dict[str, Any] | None = None
        self._last_words: deque[str] = deque(maxlen=20)

    def run(self) -> int:
        """Train to the end. Returns the supervisor's own exit code: 0 once the final state is in the log."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._note_signal)
        self._state(JobStatus.RUNNING)
        self._say(f"job {self._folder.id}: starting the trainer")
        trainer = self._start_trainer()
        readers = [
            threading.Thread(target=self._read_events, args=(trainer.stdout,)),
            threading.Thread(target=self._read_stderr, args=(trainer.stderr,)),
        ]
        for reader in readers:
            reader.start()
        self._watch(trainer)
        for reader in readers:
            reader.join()
        self._finish(trainer.returncode)
        self._log.close()
        return 0

    def _start_trainer(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "peft_studio_worker", "train", str(self._folder.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=trainer_environment(),
            pass_fds=(self._lock,),
        )

    def _note_signal(self, *_: object) -> None:
        """Only a mark: the log's lock may be held by the very line that was interrupted."""
        self._signalled = True

    def _watch(self, trainer: subprocess.Popen[bytes]) -> None:
        while trainer.poll() is None:
            request = self._folder.take_request()
            if request is not None:
                self._want(request.action, trainer, request.reason)
            if self._signalled:
                self._signalled = False
                self._want("pause", trainer, "the machine asked the job to stop")
            if self._deadline is not None and time.monotonic() > self._deadline:
                self._deadline = None
                self._want("limit", trainer, self._limit)
            if self._kill_at is not None and time.monotonic() > self._kill_at:
                trainer.kill()
            time.sleep(TICK)

    def _want(self, wanted: str, trainer: subprocess.Popen[bytes], reason: str) -> None:
        """Ask the trainer to stop at the next step boundary; a later cancel overrides a pause."""
        if self._wanted == "cancel":
            return
        self._wanted, self._limit = wanted, reason
        grace = {"cancel": CANCEL_GRACE, "limit": LIMIT_GRACE}.get(wanted)
        self._kill_at = None if grace is None else time.monotonic() + grace
        if not self._has_stepped:  # still loading: there is nothing to lose, and no step to wait for
            self._say(f"stopping: {reason}")
            trainer.kill()
            return
        self._say(f"stopping at the next step: {reason}")
        assert trainer.stdin is not None
        try:
            trainer.stdin.write(b"stop\n")
            trainer.stdin.flush()
        except BrokenPipeError:  # it has ended already; its exit code tells how
            return

    def _read_events(self, stdout: IO[bytes] | None) -> None:
        assert stdout is not None
        for line in stdout:
            try:
                fields = json.loads(line)
                kind = fields.pop("type")
            except (ValueError, KeyError, AttributeError):
                # Killed in the middle of a line, or a library that wrote past the trainer's guard.
                text = line.decode("utf-8", "replace").rstrip()
                self._log.append("log", {"level": "warning", "message": text, "source": "trainer"})
                continue
            if kind == "error":
                fields["message"] = self._in_users_words(fields["message"])
                self._error = fields
            self._has_stepped = self._has_stepped or kind == "step"
            self._log.append(kind, fields)

    def _in_users_words(self, message: str) -> str:
        """A dataset under the name that the user knows, where the client has told it."""
        original = self._job.get("dataset")
        taken_in = str(self._folder.path / self._job["config"]["dataset_path"])
        return message if original is None else message.replace(taken_in, original)

    def _read_stderr(self, stderr: IO[bytes] | None) -> None:
        assert stderr is not None
        for line in stderr:
            # A progress bar redraws its line with carriage returns; its last drawing is what a person would see.
            text = line.decode("utf-8", "replace").rstrip().rpartition("\r")[2]
            if text:
                self._last_words.append(text)
                self._log.append("log", {"level": "info", "message": text, "source": "stderr"})

    def _finish(self, code: int) -> None:
        if code == DONE:
            self._deliver()
        elif self._wanted == "cancel":
            self._give_up_output()
            self._state(JobStatus.CANCELLED, reason=self._limit)
        elif code == STOPPED or (self._wanted is not None and code == -signal.SIGKILL):
            self._state(JobStatus.PAUSED, reason=self._limit or "the trainer was asked to stop", resumable=True)
        else:
            resumable = bool(self._error.get("resumable", True)) if self._error else code != REFUSED
            self._fail(self._why(code), resumable=resumable)

    def _deliver(self) -> None:
        """Copy the artifact to the folder the user chose, verified, and say completed only then."""
        output = self._folder.read_config().output_path
        try:
            if output is not None:
                release_output(output, self._folder.id)
                copy_verified(self._folder.artifact, output)
                self._say(f"adapter in {output}")
        except (PeftStudioError, OSError) as error:
            reason = (
                f"trained, but the adapter could not be put into {output}: {error}; it is in {self._folder.artifact}"
            )
            self._fail(reason, resumable=False)
            return
        self._state(JobStatus.COMPLETED)

    def _why(self, code: int) -> str:
        if self._error is not None:
            return str(self._error["message"])
        if code < 0:
            name = signal.Signals(-code).name
            hint = " (the system may have run out of memory)" if code == -signal.SIGKILL else ""
            return f"the trainer was killed by {name}{hint}"
        last = f": {self._last_words[-1]}" if self._last_words else ""
        return f"the trainer ended with exit code {code}{last}"

    def _fail(self, reason: str, *, resumable: bool = True) -> None:
        if not resumable:
            self._give_up_output()
        self._state(JobStatus.FAILED, reason=reason, resumable=resumable)

    def _give_up_output(self) -> None:
        output = self._folder.read_config().output_path
        if output is not None:
            release_output(output, self._folder.id)

    def _state(self, status: JobStatus, **fields: Any) -> None:
        seconds = self._spent_before + time.monotonic() - self._started
        rate = self._job.get("hourly_rate")
        cost = None if rate is None else str((Decimal(rate) * Decimal(seconds) / 3600).quantize(Decimal("0.0001")))
        self._log.append("state", {"status": status.value, **fields, "seconds": round(seconds, 3), "cost": cost})

    def _say(self, message: str) -> None:
        self._log.append("log", {"level": "info", "message": message, "source": "supervisor"})

    def _first_limit(self) -> tuple[float | None, str]:
        """The moment at which the nearer of max_duration and max_cost is reached, on the monotonic clock."""
        config = self._folder.read_config()
        limits = []
        if config.max_duration is not None:
            limits.append((config.max_duration, f"max_duration of {config.max_duration:g} s reached"))
        rate = Decimal(self._job.get("hourly_rate") or 0)
        if config.max_cost is not None and rate > 0:
            limits.append((float(config.max_cost / rate * 3600), f"max_cost of {config.max_cost} USD reached"))
        if not limits:
            return None, ""
        seconds, reason = min(limits)
        return self._started + seconds - self._spent_before, reason


def supervise(path: Path, lock: int | None = None) -> int:
    """Run the job in `path`. `lock` is the descriptor of the job's lock when the caller took it for us."""
    folder = JobFolder(path.absolute())
    if lock is None:
        lock = folder.take_lock()
    if lock is None:
        print(f"{path}: the job is running already", file=sys.stderr)  # noqa: T201 -- the program's own last word
        return 1
    return Supervisor(folder, lock).run()


def trainer_environment() -> dict[str, str]:
    """The environment that lets two cores train undisturbed; what the user has set is kept.

    OpenMP threads that spin while they wait cost up to four times the time on a busy machine, those that sleep at once
    cost 40 % on an idle one; a short spin is near the best of both.
    """
    environment = {
        "GOMP_SPINCOUNT": "1000",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore::FutureWarning",  # what transformers tells its own developers
    }
    return {**environment, **os.environ}


def seconds_run(events: Path) -> float:
    """Seconds that earlier runs of the job took, read from the log; a killed run counts to its last event.

    What the machine says of a run, it may say hours after its end.
    """
    total, began, last = 0.0, None, None
    for event in EventTail(events).read():
        end = last if event.data.get("source") == "machine" else event
        if event.type == "state" and event.data["status"] == JobStatus.RUNNING:
            total += _seconds_between(began, last)
            began = event
        elif event.type == "state":
            total, began = total + _seconds_between(began, end), None
        last = end
    return total + _seconds_between(began, last)


def _seconds_between(first: JobEvent | None, last: JobEvent | None) -> float:
    return 0.0 if first is None or last is None else (last.time - first.time).total_seconds()


def claim_output(output: Path, job_id: str) -> None:
    """Reserve the user's output folder for one job. Raises `FileExistsError` when anything lies in it."""
    output.mkdir(parents=True, exist_ok=True)
    if any(output.iterdir()):
        raise FileExistsError(str(output))
    with (output / CLAIM).open("x", encoding="utf-8") as file:
        file.write(job_id)


def release_output(output: Path, job_id: str) -> None:
    """Give back a reserved folder; one that is not ours is left alone."""
    claim = output / CLAIM
    if claim.is_file() and claim.read_text(encoding="utf-8") == job_id:
        claim.unlink()


#: Name of the file that reserves an output folder until the adapter comes.
CLAIM = ".peft-studio-job"

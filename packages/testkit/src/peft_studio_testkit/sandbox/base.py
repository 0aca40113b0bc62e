"""`Sandbox`: what a connector is tested against. A fake platform for most; the machine itself for the local one."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from peft_studio.errors import PeftStudioError
from peft_studio.models import JobStatus
from peft_studio.training_config import TrainingConfig
from peft_studio_testkit.sandbox.artifact import Content, example_adapter, write_files
from peft_studio_testkit.sandbox.clock import POLL, Clock
from peft_studio_testkit.sandbox.jobs import Job, JobTable, Script, ScriptedJob
from peft_studio_testkit.sandbox.tables import DeploymentTable, ModelTable, RunTable

_EXAMPLES: Final = [
    {"prompt": "What is the capital of France?", "completion": "Paris."},
    {"prompt": "What is the capital of Japan?", "completion": "東京 (Tokyo)."},
    {"prompt": "What is the capital of Austria?", "completion": "Wien – Vienna."},
    {"prompt": "What is the capital of Peru?", "completion": "Lima."},
]


class Sandbox(ABC):
    """A platform without an account and a bill. One per connector, delivered by the entry point of its name.

    `speed` lets the clock move by itself, so many times as fast as real time; 0 leaves it to `advance`. With `worker`
    the jobs really run, in real time, unless `script` was called for them.
    """

    #: Compliance level that the connector pins.
    level: ClassVar[int] = 1
    #: Check id -> reason.
    expected_failures: ClassVar[Mapping[str, str]] = {}
    #: Longest time for one check of this connector, seconds.
    patience: ClassVar[float] = 20.0
    #: Which of the credentials are secret.
    secret_keys: ClassVar[tuple[str, ...]] = ("api_key",)

    def __init__(self, *, speed: float = 0.0, worker: bool = False) -> None:
        if worker:
            _require_worker()
        self.clock = Clock(1.0 if worker else speed)
        self.worker = worker
        self.jobs = JobTable(self._start_job, self._seed_job)
        self.models = ModelTable()
        self.runs = RunTable()
        self.deployments = DeploymentTable()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._next_script: Script | None = None
        self._artifacts: list[Path] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *details: object) -> None:
        self.stop()

    def start(self) -> None:
        """Make the platform; it has been reset once when this returns."""
        self._folder = tempfile.TemporaryDirectory(prefix="peft-studio-sandbox-")
        write_files(self.folder / "example-adapter", example_adapter())
        examples = "".join(json.dumps(example, ensure_ascii=False) + "\n" for example in _EXAMPLES)
        (self.folder / "examples.jsonl").write_text(examples, encoding="utf-8")
        self.reset()

    def stop(self) -> None:
        """Let everything go. Twice is fine."""
        self.jobs.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def reset(self) -> None:
        """Forget everything that happened; the clock is back at its start."""
        for table in (self.jobs, self.models, self.runs, self.deployments):
            table.clear()
        self._next_script = None
        while self._artifacts:
            shutil.rmtree(self._artifacts.pop())
        self.clock.reset()

    @property
    def folder(self) -> Path:
        """A folder of this sandbox; gone when it stops."""
        if self._folder is None:
            raise RuntimeError(f"{type(self).__name__} is not started: use it in a `with` block, or call start()")
        return Path(self._folder.name)

    @abstractmethod
    def credentials(self) -> dict[str, str]:
        """What `connect` needs, addresses of the sandbox included."""

    def training_config(self, **changes: Any) -> TrainingConfig:
        """A config that this platform accepts."""
        values = {
            "base_model": "HuggingFaceTB/SmolLM2-135M-Instruct",
            "dataset_path": str(self.folder / "examples.jsonl"),
        }
        return TrainingConfig.from_dict({**values, **changes})

    def script(self, **script: Any) -> None:
        """How the next job goes: `lines`, `fails` (a reason), `files`, `pending_seconds`, `running_seconds`.

        `files` maps names to bytes, to a size in bytes for made-up content, to a function that yields blocks, or to a
        `Path`. What is not given is as in every job.
        """
        self._next_script = self._script(**script)

    def advance(self, seconds: float) -> None:
        """Let that much of the platform's time pass."""
        self.clock.advance(seconds)

    def advance_until(self, job_id: str, status: JobStatus) -> None:
        """Let time pass until the job has that status. Raises `ValueError` when it will not have it."""
        job = self.jobs[job_id]
        if self.worker and not isinstance(job, ScriptedJob):
            _await(job, status)
            return
        left = job.seconds_until(status) if isinstance(job, ScriptedJob) else None
        if left is None:
            raise ValueError(f"job {job_id} is {job.status} and will not be {status} by itself")
        self.advance(left)

    def _start_job(self, id: str, tag: str | None, received: Mapping[str, Any], *, is_held: bool = False) -> Job:
        script, self._next_script = self._next_script, None
        if script is None and self.worker and not is_held:
            from peft_studio_testkit.sandbox.worker_jobs import WorkerJob

            return WorkerJob(id, tag, received, self.clock.now(), self.folder / "jobs" / id)
        script = script or self._script()
        return ScriptedJob(id, tag, received, self.clock, script, JobStatus.PENDING, is_held=is_held)

    def _seed_job(
        self, id: str, tag: str | None, received: Mapping[str, Any], status: JobStatus, script: Mapping[str, Any]
    ) -> Job:
        if status is JobStatus.FAILED:
            script = {"fails": "it was seeded as failed", **script}
        return ScriptedJob(id, tag, received, self.clock, self._script(**script), status)

    def _script(self, *, files: Mapping[str, Content] | None = None, **script: Any) -> Script:
        if files is None:
            return Script(folder=self.folder / "example-adapter", **script)
        folder = Path(tempfile.mkdtemp(prefix="artifact-", dir=self.folder))
        self._artifacts.append(folder)
        write_files(folder, files)
        return Script(folder=folder, **script)


def _require_worker() -> None:
    missing = [name for name in ("peft_studio_worker", "torch", "transformers", "peft") if find_spec(name) is None]
    if missing:
        remedy = "pip install 'peft-studio-testkit[worker]'"
        raise PeftStudioError(f"jobs that really run need more packages ({', '.join(missing)})", remedy=remedy)


def _await(job: Job, status: JobStatus) -> None:
    """Wait in real time. Raises `ValueError` when the job stops with another status."""
    while (now := job.status) is not status:
        if now.is_terminal or now is JobStatus.PAUSED:
            raise ValueError(f"job {job.id} is {now} and will not be {status} by itself")
        time.sleep(POLL)

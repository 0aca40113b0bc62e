"""The sandbox of the local connector: this machine itself, a home that is thrown away, and a model that is tiny.

Jobs really run. What a platform would be told to pretend cannot be told here, and is an expected failure of the checks.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

from peft_studio.lines import LineWriter
from peft_studio.models import JobStatus
from peft_studio.paths import HOME_VARIABLE, data_dir
from peft_studio.training_config import TrainingConfig
from peft_studio_local import observe
from peft_studio_testkit import Sandbox
from peft_studio_testkit.sandbox.artifact import Files
from peft_studio_worker.events import EventTail
from peft_studio_worker.job_folder import JobFolder

#: Longest wait for a job of this machine to get somewhere, seconds.
_PATIENCE: Final = 120.0
_TRAINED: Final = "the trainer writes the log and the adapter itself; nothing can be put into its mouth"


class LocalSandbox(Sandbox):
    """Jobs on this machine, in a home of their own. Needs the testkit's extra `worker`."""

    level = 1
    secret_keys: ClassVar[tuple[str, ...]] = ()
    patience = 2 * _PATIENCE
    expected_failures: ClassVar[Mapping[str, str]] = {
        "documentation-is-named": "the project has no public address yet",
        "waiting-job-is-pending": "a job on this machine starts at once",
        "cancel-of-a-waiting-job": "a job on this machine starts at once",
        "logs-of-a-failed-job": _TRAINED,
        "logs-keep-unicode": _TRAINED,
        "logs-keep-long-lines": _TRAINED,
        "logs-of-many-lines": _TRAINED,
        "logs-of-a-silent-job": _TRAINED,
    }

    def __init__(self, *, speed: float = 0.0) -> None:
        super().__init__(speed=speed)
        self.jobs = LocalJobs()  # type: ignore[assignment]  # the truth is on the disk, and nothing can be added to it
        self._home: str | None = None
        self._wanted: dict[str, Any] = {}

    def start(self) -> None:
        """Make the home and the tiny model; PEFT_STUDIO_HOME of this process points there until `stop`."""
        from peft_studio_testkit.tiny_model import write_facts, write_tiny_model

        super().start()
        self._home = os.environ.get(HOME_VARIABLE)
        os.environ[HOME_VARIABLE] = str(self.folder / "home")
        write_tiny_model(self.folder / "tiny-model")
        write_facts(self.folder / "facts.jsonl")

    def stop(self) -> None:
        """End every job, and remove the home."""
        if self._folder is not None:
            self.jobs.clear()
            os.environ.pop(HOME_VARIABLE, None)
            if self._home is not None:
                os.environ[HOME_VARIABLE] = self._home
        super().stop()

    def reset(self) -> None:
        """End every job and forget it."""
        super().reset()
        self._wanted = {}

    def credentials(self) -> dict[str, str]:
        """None are needed."""
        return {}

    def training_config(self, **changes: Any) -> TrainingConfig:
        """A job that trains the tiny model in seconds."""
        wanted, self._wanted = self._wanted, {}
        values = {
            "base_model": str(self.folder / "tiny-model"),
            "dataset_path": str(self.folder / "facts.jsonl"),
            "rank": 4,
            "max_steps": 3,
            "dtype": "float32",
        }
        return TrainingConfig.from_dict({**values, **wanted, **changes})

    def script(self, **script: Any) -> None:
        """Make the next job long (`running_seconds`) or one that fails (`fails`). Raises `ValueError` for all else."""
        for key, value in script.items():
            if key == "running_seconds":
                self._wanted |= {"max_steps": 100_000, "num_epochs": 100_000}
            elif key == "fails" and value is not None and len(script) == 1:
                self._wanted |= {"max_seq_length": 8}  # every example is longer, which the trainer refuses
            else:
                raise ValueError(f"a job of this machine cannot be scripted: {key}")

    def advance(self, seconds: float) -> None:
        """Time passes by itself here."""
        time.sleep(min(seconds, 1.0))

    def advance_until(self, job_id: str, status: JobStatus) -> None:
        """Wait until the job has that status. Raises `ValueError` when it ends otherwise, or takes too long."""
        deadline = time.monotonic() + _PATIENCE
        job = self.jobs[job_id]
        while (now := job.status) is not status:
            if now.is_terminal or time.monotonic() > deadline:
                raise ValueError(f"job {job_id} is {now} and not {status}")
            time.sleep(observe.POLL)


class LocalJob:
    """One job, as its folder tells it."""

    word: str | None = None

    def __init__(self, folder: JobFolder) -> None:
        self._folder = folder
        self.id = folder.id
        self.tag = folder.id
        self.received: dict[str, Any] = folder.read_job()["config"]

    @property
    def status(self) -> JobStatus:
        """The status now."""
        return observe.settled_status(self._folder)

    @property
    def lines(self) -> list[str]:
        """The log so far."""
        writer = LineWriter()
        lines = (writer.line(event) for event in EventTail(self._folder.events).read())
        return [line for line in lines if line is not None]

    @property
    def files(self) -> Files:
        """The adapter; empty until there is one."""
        return Files(self._folder.artifact if self._folder.artifact.is_dir() else None)

    def end(self) -> None:
        """Stop whatever runs, and remove the folder."""
        while not observe.cancel_stopped(self._folder):
            self._folder.write_request("cancel")
            time.sleep(observe.POLL)
        shutil.rmtree(self._folder.path)


class LocalJobs(Mapping[str, LocalJob]):
    """Every job folder of the home."""

    def __getitem__(self, id: str) -> LocalJob:
        folder = JobFolder(self._folder / id)
        if not (folder.path / "job.json").is_file():
            raise KeyError(id)
        return LocalJob(folder)

    def __iter__(self) -> Iterator[str]:
        found = self._folder.glob("*/job.json")
        return iter(sorted(path.parent.name for path in found))

    def __len__(self) -> int:
        return len(list(iter(self)))

    def clear(self) -> None:
        """End all of them."""
        for job in list(self.values()):
            job.end()

    @property
    def _folder(self) -> Path:
        return data_dir() / "jobs"

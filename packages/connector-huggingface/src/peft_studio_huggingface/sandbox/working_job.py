"""A Job whose worker really runs: what the worker writes into its folder is the log and the artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from peft_studio_huggingface.sandbox.machine import Machine
from peft_studio_huggingface.sandbox.rented_job import JOB, RentedJob
from peft_studio_testkit.sandbox.clock import Clock
from peft_studio_testkit.sandbox.worker_jobs import MachineJob

_MOUNT: Final = "/workspace"
_ROOT: Final = "PEFT_STUDIO_WORKER_ROOT"


class WorkingJob(RentedJob, MachineJob):
    """The job in the folder is the training's; the machine that it runs on is the Hub's."""

    def __init__(self, id: str, body: Mapping[str, Any], clock: Clock, folder: Path, origin: Callable[[], str]) -> None:
        tag = body["environment"][JOB]
        inside = PurePosixPath(body["environment"].get(_ROOT, _MOUNT)).relative_to(_MOUNT)
        MachineJob.__init__(self, id, tag, {}, clock.now(), folder / "mount" / inside / tag)
        self.set_up(body, clock, origin)
        self._is_ended = False
        self._machine = Machine(id, body, folder, self.say, self._on_end)

    @property
    def open_port(self) -> int | None:
        return None if self.is_gone else self._machine.port

    def cancel(self) -> bool:
        """End the machine; False when it was over already."""
        if self.is_gone:
            return False
        self._is_ended = True
        self._machine.end()
        return True

    def pause(self) -> bool:
        """A Job cannot stand still."""
        return False

    def resume(self) -> bool:
        """Nor go on."""
        return False

    def finish(self, stage: str) -> None:
        """It was cancelled; of its own end it tells itself."""
        self.cancel()

    def end(self) -> None:
        """Nothing of it is alive when this returns."""
        self._machine.end()

    def _on_end(self, code: int | None) -> None:
        stage = "CANCELED" if self._is_ended else "COMPLETED" if code == 0 else "ERROR"
        self.leave(stage, "Job timeout" if code is None else f"exit code {code}" if stage == "ERROR" else None)

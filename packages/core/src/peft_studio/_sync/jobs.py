"""Calls of the facade, made by packages/core/make_sync.py from peft_studio.jobs; do not edit."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peft_studio._loop_thread import LoopThread
    from peft_studio.jobs import Jobs
    from peft_studio.ledger import JobRecord
    from peft_studio.models import JobEvent
    from peft_studio.reconcile.account import Ended
    from peft_studio.training_config import TrainingConfig


class SyncJobs:
    """The jobs of one manager's ledger; had from `SyncConnectorManager.jobs`."""

    def __init__(self, jobs: Jobs, loop: LoopThread) -> None:
        self._jobs = jobs
        self._loop = loop

    def submit(self, connector: str, config: TrainingConfig, *, feed: bool = True) -> JobRecord:
        """Start a job and return its record; without `feed` the first `follow` brings it what it needs."""
        return self._loop.run(self._jobs.submit(connector, config, feed=feed))

    def feed(self, id: str, tell: Callable[[str], None] | None = None) -> JobRecord:
        """Bring to a job that has not begun what it needs, where its platform cannot; `tell` hears how it goes.

        It may take minutes: a machine that was rented for the job comes up first. When that fails for good, the job is
        failed and the machine ended. Raises `ConnectionFailed` when it may be tried again.
        """
        return self._loop.run(self._jobs.feed(id, tell))

    def finish(self, id: str, *, has_adapter: bool = False, is_empty: bool = False) -> list[Ended]:
        """End what was rented for a job that is over, after bringing home the rest of its log and its adapter.

        The adapter goes to its output_dir, or to the data directory, unless the caller has it. Nothing is ended while
        it cannot be saved. A job that `is_empty` never began. Where nothing is rented this does nothing.
        """
        return self._loop.run(self._jobs.finish(id, has_adapter=has_adapter, is_empty=is_empty))

    def list_jobs(self) -> list[JobRecord]:
        """Every job, newest first; those that may still change are asked about.

        A platform that did not answer lately is left alone, for a while: its jobs are unreachable.
        """
        return self._loop.run(self._jobs.list_jobs())

    def get(self, id: str) -> JobRecord:
        """One job, asked about unless it is over."""
        return self._loop.run(self._jobs.get(id))

    def follow(self, id: str, after: int = 0) -> Generator[JobEvent]:
        """Events after that sequence number: what is known, then what comes, until the job stops.

        While a machine is made ready for the job its start is told in log events with the number 0, which are not kept.
        What was rented for the job is ended when the job is over and its adapter is home: see `finish`.
        """
        return self._loop.iterate(self._jobs.follow(id, after))

    def keep_within_budget(self, id: str) -> JobRecord:
        """One job, asked about; when its worker lets it pass max_cost or max_duration, it is cancelled."""
        return self._loop.run(self._jobs.keep_within_budget(id))

    def drain(self, id: str) -> None:
        """Copy what the platform has of the job's log and the ledger has not. Raises where `follow` does."""
        self._loop.run(self._jobs.drain(id))

    def locate(self, id: str) -> str:
        """The platform's id of a job; one whose answer was lost is looked for, and adopted.

        Raises `UnknownOutcome` when the platform does not have it, or cannot tell.
        """
        return self._loop.run(self._jobs.locate(id))

    def events(self, id: str) -> list[JobEvent]:
        """Everything that has happened so far, without waiting for more."""
        return self._loop.run(self._jobs.events(id))

    def cancel(self, id: str, reason: str | None = None) -> JobRecord:
        """Stop a job for good; one that waits in the offline queue is never submitted.

        The wish is in the ledger before the platform is asked, and until the platform's own answer says that the job
        is over: `reconcile` goes on with it.
        """
        return self._loop.run(self._jobs.cancel(id, reason))

    def go_on_cancelling(self, id: str) -> JobRecord:
        """Ask for what `cancel` has written down, and look whether it has happened."""
        return self._loop.run(self._jobs.go_on_cancelling(id))

    def pause(self, id: str) -> JobRecord:
        """Stop a job at a checkpoint.

        The wish is in the ledger until the platform has answered: a machine that was rented for the job costs until it
        stands still, and `reconcile` goes on with it.
        """
        return self._loop.run(self._jobs.pause(id))

    def go_on_pausing(self, id: str) -> JobRecord:
        """Ask for what `pause` has written down; what may work the next time leaves it open."""
        return self._loop.run(self._jobs.go_on_pausing(id))

    def resume(self, id: str) -> JobRecord:
        """Let a stopped job go on."""
        return self._loop.run(self._jobs.resume(id))

    def metrics(self, id: str) -> list[Mapping[str, Any]]:
        """Training and validation steps, oldest first. A step that was trained twice (resumed) is told once."""
        return self._loop.run(self._jobs.metrics(id))

    def pull(self, id: str, destination: Path | str) -> Path:
        """Bring the adapter to `destination`, verified, from here when it has come home before.

        What was rented for the job is ended then. Raises `ArtifactNotFound` and `InvalidConfig`.
        """
        return self._loop.run(self._jobs.pull(id, destination))

    def save(self, id: str, destination: Path) -> Path:
        """As `pull`, always from the platform, and everything that was rented stays."""
        return self._loop.run(self._jobs.save(id, destination))

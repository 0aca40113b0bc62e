"""Runs at a tracker as people name them: by the tracker's id, by their name, or by the job that they record."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

from attrs import frozen

from peft_studio.errors import InvalidConfig, JobNotFound
from peft_studio.ledger import JobRecord, Ledger
from peft_studio.models import Run
from peft_studio.paths import queue_file
from peft_studio.queue import Queue, State, requests
from peft_studio.tracking.feed import trackers_of

if TYPE_CHECKING:
    from peft_studio.manager import ConnectorManager

#: Runs among which a name is looked for that may have been meant.
_NEAR: Final = 200


@frozen
class TrackedRuns:
    """The runs of one tracker, and what this machine knows of them."""

    manager: ConnectorManager
    tracker: str
    ledger: Ledger

    async def find(self, wanted: str) -> Run:
        """The run, whole. Raises `JobNotFound`, with names that may have been meant."""
        job = self.job(wanted)
        for id in (wanted, None if job is None else self._id_of(job)):
            if id is None:
                continue
            try:
                return await self.manager.get_run(self.tracker, id)
            except (JobNotFound, InvalidConfig):  # it may be a name
                continue
        return await self._named(wanted if job is None else job.id)

    def job(self, wanted: str) -> JobRecord | None:
        """The job of that id whose runs go to this tracker; None when there is none."""
        try:
            job = self.ledger.job(wanted)
        except JobNotFound:
            return None
        return job if self.tracker in trackers_of(job) else None

    def waiting(self) -> dict[str, int]:
        """How many rows of each job wait in the queue for this tracker; of one that waits to be opened, maybe none."""
        if not queue_file().exists():
            return {}
        with Queue() as queue:
            found = [
                operation for operation in queue.operations(State.WAITING, State.RUNNING)
                if operation.connector == self.tracker and operation.stream.startswith(requests.run_stream(""))
            ]  # fmt: skip
        rows: dict[str, int] = {}
        for operation in found:
            payload = operation.payload
            count = payload["after"]["rows"] - payload["before"]["rows"] if operation.kind == "log_events" else 0
            rows[payload["run"]] = rows.get(payload["run"], 0) + count
        return rows

    def _id_of(self, job: JobRecord) -> str | None:
        """The tracker's id of a job's run, as long as the queue remembers that it was opened."""
        if not queue_file().exists():
            return None
        with Queue() as queue:
            start = queue.find(self.tracker, requests.start_key(job.id))
        return None if start is None or start.state is not State.DONE else str(start.result)

    async def _named(self, name: str) -> Run:
        found = await self.manager.list_runs(self.tracker, search=name)
        same = [run for run in found if name in (run.name, run.id.rpartition("/")[2])]
        if len(same) == 1:
            return await self.manager.get_run(self.tracker, same[0].id)
        if same:
            remedy = f"say which: {', '.join(run.id for run in same[:5])}"
            raise JobNotFound(f"{self.tracker} has {len(same)} runs that are called {name}", remedy=remedy)
        if name in self.waiting():
            remedy = f"send it: peft-studio queue flush {self.tracker}"
            raise JobNotFound(f"{self.tracker} does not have the run of {name} yet", remedy=remedy)
        near = [run.name for run in found[:3]] or await self._near(name)
        meant = f"did you mean {' or '.join(near)}? " if near else ""
        raise JobNotFound(
            f"{self.tracker} has no run {name!r}", remedy=f"{meant}all of them: peft-studio runs list {self.tracker}"
        )

    async def _near(self, name: str) -> list[str]:
        """Names, and last parts of ids, that are not far from it."""
        newest = await self.manager.list_runs(self.tracker, limit=_NEAR)
        return get_close_matches(
            name, {known for run in newest for known in (run.name, run.id.rpartition("/")[2])}, n=3
        )

"""Queues for each tracker of a job what its log has told since the last time.

How far that is stands in the queue itself, in the last operation of the run. Each operation has the place that it
begins at in its key: of two processes that feed the same run only one can queue what follows a place.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

from attrs import frozen

from peft_studio.errors import InvalidConfig, PeftStudioError
from peft_studio.ledger import JobRecord, Ledger
from peft_studio.models import JobEvent
from peft_studio.queue import Queue, requests
from peft_studio.queue.operation import Operation
from peft_studio.tracking.fold import Place, fold

#: Events of one operation: one request to the tracker, more or less.
MOST_EVENTS: Final = 2000
#: After the end of a job. The queue forgets a run a month after its last operation; told again, it would begin anew.
REMEMBERED: Final = timedelta(days=29)

_log = logging.getLogger(__name__)


def trackers_of(job: JobRecord) -> tuple[str, ...]:
    """Names of the trackers that get the job's metrics."""
    return tuple(job.config.get("experiment_tracker") or ())


@frozen
class Feeder:
    """Brings what the ledger knows of a job into the queue. It asks nobody, and takes moments."""

    ledger: Ledger
    queue: Queue

    def feed(self, job_id: str) -> None:
        """Queue what is new in the job's log, for each of its trackers."""
        job = self.ledger.job(job_id)
        for tracker in trackers_of(job):
            self._feed(job, tracker)

    def feed_all(self) -> None:
        """The same for every job that has trackers, as long as the queue remembers what it has told of it."""
        for job in self.ledger.jobs():
            is_past = job.status.is_terminal and self.ledger.clock() - job.changed > REMEMBERED
            if trackers_of(job) and not is_past:
                self.feed_safely(job.id)

    def feed_safely(self, job_id: str) -> None:
        """As `feed`; a job that cannot be queued, as its config holds a secret, is logged and stops nothing else."""
        try:
            self.feed(job_id)
        except (PeftStudioError, sqlite3.Error) as error:
            _log.warning("job %s could not be queued for its trackers: %s", job_id, error)

    def _feed(self, job: JobRecord, tracker: str) -> None:
        config = {**job.config, "run_id": job.id, "display_name": job.id, "job_type": "train"}
        self.queue.enqueue(requests.start_run(tracker, job.id, config))
        place = self._place(tracker, job.id)
        while events := self._block(job, place.through):
            _, after = fold(events, place)
            wanted = requests.log_events(tracker, job.id, place.to_dict(), after.to_dict())
            place = place_after(self.queue.enqueue(wanted))  # that of somebody else, who was first
        if job.status.is_terminal and place.status != str(job.status):  # its log does not tell that it is over
            self.queue.enqueue(requests.finish_run(tracker, job.id, job.status, after=place.through))

    def _place(self, tracker: str, run: str) -> Place:
        last = self.queue.last_of(tracker, requests.run_stream(run), "log_events")
        return Place() if last is None else place_after(last)

    def _block(self, job: JobRecord, after: int) -> Sequence[JobEvent]:
        """What can be told next. What belongs to one step stays together: the last step waits until it is over."""
        block: list[JobEvent] = []
        has_step = False
        for event in self.ledger.events(job.id, after):
            may_end = event.type == "step" or not has_step
            if may_end and len(block) >= MOST_EVENTS:
                return block
            has_step = has_step or event.type == "step"
            block.append(event)
        return block if job.status.is_terminal else block[: _open_step(block)]


def place_after(operation: Operation) -> Place:
    """The place after what an operation tells: in its payload while it waits, in its result when it is done."""
    values: Any = operation.result or operation.payload.get("after")
    if not isinstance(values, dict):
        raise InvalidConfig(f"operation {operation.number} does not tell how far run {operation.stream} has come")
    return Place.from_dict(values)


def _open_step(events: Sequence[JobEvent]) -> int:
    """Where the step begins that may still get more; a stop closes it."""
    for index in range(len(events) - 1, -1, -1):
        if events[index].type == "state" and events[index].data.get("status") != "running":
            return len(events)
        if events[index].type == "step":
            return index
    return len(events)

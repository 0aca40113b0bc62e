"""Keeps trackers up to date beside a job that is followed, without ever holding it up.

It reads the ledger and writes to the queue, now and then, and lets the queue be drained meanwhile. A tracker that is
slow or away holds up nothing but itself, as each goes its own way; what it did not get waits in the queue. When Stop
was pressed at one of them, the cancellation that this queues is carried out at once, as long as the job is followed.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from attrs import define

from peft_studio.errors import PeftStudioError
from peft_studio.ledger import JobRecord, Ledger
from peft_studio.queue import Queue, State, requests
from peft_studio.queue.drain import Drainer
from peft_studio.queue.kinds import KINDS, Kind
from peft_studio.tracking.feed import Feeder, trackers_of

if TYPE_CHECKING:
    from peft_studio.manager import ConnectorManager

#: What a companion carries out of the queue: nothing that costs money.
TRACKING_KINDS: Final[Mapping[str, Kind]] = {
    name: KINDS[name] for name in ("start_run", "log_events", "finish_run", "cancel_job")
}
#: Seconds between two looks at the log.
LOOK: Final = 2.0
#: Seconds that trackers get at the end, before what is left waits for another command.
PATIENCE: Final = 10.0

_log = logging.getLogger(__name__)


@define
class Companion:
    """The trackers of one job."""

    drainer: Drainer
    feeder: Feeder
    job: JobRecord

    async def go_along(self) -> None:
        """Bring trackers up to date again and again, each by itself, until cancelled."""
        await asyncio.gather(*(self._go_along(name) for name in self.names))

    async def _go_along(self, name: str) -> None:
        while True:
            await self.catch_up(name)
            await asyncio.sleep(LOOK)

    @property
    def names(self) -> tuple[str, ...]:
        """Who has something to hear: the trackers, and the job's own connector when Stop was pressed at one."""
        return tuple(dict.fromkeys([*trackers_of(self.job), self.job.connector]))

    async def catch_up(self, *names: str) -> None:
        """Queue what is new, and send these what can be sent now. A failure stands in the queue, or is logged."""
        self.feeder.feed_safely(self.job.id)
        try:
            await self.drainer.drain(names)
        except (PeftStudioError, sqlite3.Error) as error:
            _log.warning("job %s could not be told to its trackers: %s", self.job.id, error)

    async def end(self, tell: Callable[[str], None], patience: float) -> None:
        """Send the rest, as far as that goes within `patience` seconds, and tell what trackers did not get."""
        try:
            async with asyncio.timeout(patience):
                await self.catch_up(*self.names)
        except TimeoutError:
            _log.info("the trackers of job %s did not keep up", self.job.id)
        try:
            self._tell_left(tell)
        except sqlite3.Error as error:
            _log.warning("what waits for the trackers of job %s cannot be read: %s", self.job.id, error)

    def _tell_left(self, tell: Callable[[str], None]) -> None:
        """What waits, and what was refused for good."""
        stream = requests.run_stream(self.job.id)
        left = self.drainer.queue.operations(State.WAITING, State.RUNNING, State.DEAD)
        for tracker in trackers_of(self.job):
            mine = [operation for operation in left if (operation.connector, operation.stream) == (tracker, stream)]
            dead = [operation for operation in mine if operation.state is State.DEAD]
            if dead:
                tell(f"{tracker} has refused {len(dead)} for good: {dead[0].reason}; see: peft-studio queue list")
            if len(mine) > len(dead):
                waiting = len(mine) - len(dead)
                tell(f"{tracker}: {waiting} waiting in the queue; send them: peft-studio queue flush {tracker}")


@asynccontextmanager
async def tracked(
    manager: ConnectorManager, ledger: Ledger, job: JobRecord, tell: Callable[[str], None], patience: float = PATIENCE
) -> AsyncGenerator[None]:
    """Meanwhile keep the trackers of a job up to date; at its end `tell` hears of what they did not get."""
    if not trackers_of(job):
        yield
        return
    with Queue() as queue:
        companion = Companion(Drainer(queue, manager, ledger, TRACKING_KINDS), Feeder(ledger, queue), job)
        going = asyncio.create_task(companion.go_along())
        try:
            yield
        finally:
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)
            companion.feeder.feed_safely(job.id)
        await companion.end(tell, patience)

"""Keeps trackers up to date beside a job that is followed, without ever holding it up.

It reads the ledger and writes to the queue, now and then, and lets the queue be drained meanwhile. A tracker that is
slow or away holds up nothing but itself; what it did not get waits in the queue.
"""

from __future__ import annotations

import asyncio
import logging
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
TRACKING_KINDS: Final[Mapping[str, Kind]] = {name: KINDS[name] for name in ("start_run", "log_events", "finish_run")}
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
        """Bring trackers up to date again and again, until cancelled."""
        while True:
            await self.catch_up()
            await asyncio.sleep(LOOK)

    async def catch_up(self) -> None:
        """Queue what is new, and send what can be sent now. A failure stands in the queue, or is logged."""
        try:
            self.feeder.feed(self.job.id)
            await self.drainer.drain(trackers_of(self.job))
        except PeftStudioError as error:
            _log.warning("job %s could not be told to its trackers: %s", self.job.id, error)

    def left(self) -> dict[str, int]:
        """How many operations still wait, by tracker."""
        stream = requests.run_stream(self.job.id)
        waiting = self.drainer.queue.operations(State.WAITING, State.RUNNING)
        found = [operation.connector for operation in waiting if operation.stream == stream]
        return {tracker: found.count(tracker) for tracker in trackers_of(self.job) if tracker in found}


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
        try:
            async with asyncio.timeout(patience):
                await companion.catch_up()
        except TimeoutError:
            _log.info("the trackers of job %s did not keep up", job.id)
        for tracker, count in companion.left().items():
            tell(f"{tracker}: {count} waiting in the queue; send them: peft-studio queue flush {tracker}")

"""Waiting for a machine: from the moment it is rented until the worker on it speaks, with what it says meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from peft_studio.errors import ConnectionFailed, JobNotFound, PeftStudioError, PlatformError, RateLimitError
from peft_studio.rented.machine import Machine, MachineState

if TYPE_CHECKING:
    from peft_studio.rented.connector import RentedMachineConnector

#: Seconds that a machine may take until its worker speaks: images are large and hosts are slow.
BOOT_TIME: Final = 1800.0
#: Seconds between two looks at the worker, and at the platform's word.
WORKER_LOOK: Final = 1.0
PLATFORM_LOOK: Final = 5.0
#: Failures in a row to ask the platform.
ATTEMPTS: Final = 5
#: Lines of the platform's log that an error quotes.
_LAST_WORDS: Final = 10


class Boot:
    """One machine's start, as its client sees it."""

    def __init__(self, connector: RentedMachineConnector, machine_id: str) -> None:
        self._connector = connector
        self._id = machine_id
        self._heard: asyncio.Queue[str | None] = asyncio.Queue()
        self._last: deque[str] = deque(maxlen=_LAST_WORDS)
        self._machine: Machine | None = None
        self._is_known = False

    @property
    def machine(self) -> Machine:
        """The machine when its worker has spoken, after `lines` has ended."""
        assert self._machine is not None, "lines() was not read to its end"
        return self._machine

    async def lines(self) -> AsyncGenerator[str]:
        """What the platform says of the machine and shows of its start, until the worker speaks.

        Raises `PlatformError` when it never will, `ConnectionFailed` when the platform cannot be asked.
        """
        tasks = [asyncio.create_task(self._wait()), asyncio.create_task(self._listen())]
        try:
            while (line := await self._heard.get()) is not None:
                self._last.append(line)
                yield line
            self._machine = await tasks[0]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def is_there(self) -> Machine:
        """The machine as soon as its worker speaks, whatever is said until then. Raises as `lines`."""
        async with aclosing(self.lines()) as lines:
            async for _ in lines:
                pass
        return self.machine

    async def _wait(self) -> Machine:
        try:
            return await self._speaking()
        finally:
            self._heard.put_nowait(None)

    async def _speaking(self) -> Machine:
        until, word, looks = time.monotonic() + BOOT_TIME, "", 0
        while time.monotonic() < until:
            machine = await self._look()
            if machine.status != word:
                word = machine.status
                self._heard.put_nowait(f"machine {machine.id} is {word}")
            if machine.state is MachineState.RUNNING and await self._answers(machine):
                return machine
            if machine.state is not MachineState.RUNNING:
                looks += 1
                await asyncio.sleep(min(looks * WORKER_LOOK, PLATFORM_LOOK))
        raise self._never(f"the worker did not answer within {BOOT_TIME / 60:.0f} minutes")

    async def _look(self) -> Machine:
        """What the platform says; it may be silent for a while, and not show a machine that was made just now."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                machine = await self._connector.get_job_machine(self._id)
                break
            except JobNotFound as error:
                if self._is_known or attempt == ATTEMPTS:
                    raise self._never("the machine is gone before its worker spoke") from error
                await asyncio.sleep(WORKER_LOOK)
            except (ConnectionFailed, RateLimitError) as error:
                if attempt == ATTEMPTS:
                    raise
                await asyncio.sleep(getattr(error, "retry_after", None) or WORKER_LOOK)
        self._is_known = True
        if machine.state in (MachineState.BROKEN, MachineState.STOPPED):
            raise self._never(f"the machine does not start: it is {machine.status}")
        return machine

    async def _answers(self, machine: Machine) -> bool:
        """Ask the worker again and again, until it is time to look at the platform."""
        until = time.monotonic() + PLATFORM_LOOK
        async with self._connector.worker_of(machine) as worker:
            while not await worker.is_there():
                if time.monotonic() > until:
                    return False
                await asyncio.sleep(WORKER_LOOK)
        return True

    async def _listen(self) -> None:
        """The platform's own log; without it the start is only less interesting."""
        try:
            async with aclosing(self._connector.boot_log(self._id)) as lines:
                async for line in lines:
                    self._heard.put_nowait(line)
        except PeftStudioError as error:
            self._heard.put_nowait(f"the platform's log cannot be had: {error}")

    def _never(self, what: str) -> PlatformError:
        said = " | ".join(self._last)
        return PlatformError(what, why=f"the last that was heard: {said}" if said else None)

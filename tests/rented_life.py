"""One job on a rented machine, from the submission to the teardown, as a user lives it who does not give up.

Every step is a program of its own, as commands are: a fresh manager, the same ledger. What goes wrong is tried again,
or settled by `reconcile`. In the end the books must agree with what the sandbox knows to be true.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from attrs import define, field

from peft_studio import ConnectorManager, JobStatus, Ledger, PeftStudioError, TrainingConfig
from peft_studio.connector import PlatformConnector
from peft_studio.homes import home_of
from peft_studio.ledger import JobRecord
from peft_studio.reconcile import Account, Reconciler
from peft_studio_runpod.sandbox import RunpodSandbox

LINES = [f"line {number} of the training, ünïcödé ✓" for number in range(1, 8)]
FILES = {"adapter_config.json": b'{"peft_type": "LORA"}', "adapter_model.safetensors": bytes(range(256)) * 512}
#: How often the user tries again, in all.
PATIENCE = 30
_ORDER = [JobStatus.PENDING, JobStatus.RUNNING, JobStatus.COMPLETED]


@contextmanager
def variables(**values: str) -> Iterator[None]:
    """The environment meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@define
class Life:
    """One user, one job."""

    sandbox: RunpodSandbox
    connector: type[PlatformConnector]
    ledger: Ledger
    #: Lets the ledger's clock go on by so many seconds.
    wait: Callable[[float], None]
    #: Submissions that somebody refused, in their words.
    refusals: list[str] = field(factory=list)
    #: Everything else that went wrong on the way.
    troubles: list[str] = field(factory=list)
    #: Numbers of the events that were shown, over all programs.
    seen: list[int] = field(factory=list)
    #: Every status that was told, in its order.
    told: list[JobStatus] = field(factory=list)
    #: What was told and was not so.
    lies: list[str] = field(factory=list)

    @classmethod
    @contextmanager
    def at(cls, sandbox: RunpodSandbox, connector: type[PlatformConnector], home: Path) -> Iterator[Life]:
        """With an empty home."""
        skew = timedelta()

        def clock() -> datetime:
            return datetime.now(UTC) + skew

        def wait(seconds: float) -> None:
            nonlocal skew
            skew += timedelta(seconds=seconds)

        quick = {"PEFT_STUDIO_HTTP_TIMEOUT": "0.7", "PEFT_STUDIO_HTTP_RETRIES": "1"}
        with variables(PEFT_STUDIO_HOME=str(home), **quick), Ledger(home / "ledger.sqlite3", clock=clock) as ledger:
            yield cls(sandbox, connector, ledger, wait)

    async def live(self, **config: Any) -> JobRecord:
        """From nothing to a job that is over, and nothing rented. Returns the job's record."""
        return await self.inherit(await self.begin(**config))

    async def inherit(self, id: str) -> JobRecord:
        """Go on with a job that was begun, to its end."""
        await self._is_made(id)
        while not self.job(id).status.is_terminal:
            await self.attempt(partial(self._follow, id=id), self.troubles)
            self.compare(id)
        while self.sandbox.bills():
            await self.attempt(partial(self._clear, id=id), self.troubles)
        return self.job(id)

    async def begin(self, **config: Any) -> str:
        """Submit until there is a job that the platform has; its id."""
        submit = partial(_submit, connector=self.connector.name, config=self.sandbox.training_config(**config))
        while True:
            known = {job.id for job in self.ledger.jobs()}
            await self.attempt(submit, self.refusals)
            for job in self.ledger.jobs():
                if job.id not in known and await self._is_made(job.id):
                    return job.id

    async def reconcile(self) -> None:
        """The command of that name."""
        await self.attempt(self._reconcile, self.troubles)

    async def attempt(self, step: Callable[[ConnectorManager], Awaitable[Any]], notes: list[str]) -> None:
        """One program of the user's; what it fails with is noted."""
        assert len(self.refusals) + len(self.troubles) < PATIENCE, self.refusals + self.troubles
        credentials = {self.connector.name: self.sandbox.credentials()}
        connectors = [self.connector]
        try:
            async with ConnectorManager(
                ledger=self.ledger, connectors=connectors, discover=False, credentials=credentials
            ) as manager:
                await step(manager)
        except PeftStudioError as error:
            notes.append(f"{type(error).__name__}: {error}")

    def job(self, id: str) -> JobRecord:
        """What the ledger says."""
        return self.ledger.job(id)

    def compare(self, id: str) -> None:
        """Note a status that was not so: behind the truth it may be, ahead of it never, and it does not go back."""
        told = self.job(id)
        if told.platform_id is None or (self.told and self.told[-1] is told.status):
            return
        truth = self.sandbox.jobs[told.platform_id].status
        before = self.told[-1] if self.told else JobStatus.PENDING
        is_late = {before, told.status, truth} <= set(_ORDER) and (
            _ORDER.index(before) <= _ORDER.index(told.status) < _ORDER.index(truth)
        )
        if told.status is not truth and (told.status.is_terminal or not is_late):
            self.lies.append(f"told {told.status} ({told.reason}) after {before}, and it was {truth}")
        self.told.append(told.status)

    def books(self, job: JobRecord) -> list[str]:
        """What does not agree with what the sandbox knows; empty when all is well."""
        wrong = list(self.lies)
        made = len(self.sandbox.pods.ever)
        if made != 1:
            wrong.append(f"{made} machines were rented")
        events = list(self.ledger.events(job.id))
        if [event.sequence for event in events] != list(range(1, len(events) + 1)):
            wrong.append("the numbers of the events are not 1, 2, 3, …")
        if self.seen != list(range(1, len(self.seen) + 1)):
            wrong.append(f"the events were shown as {self.seen}")
        return wrong

    def verdict(self, job: JobRecord) -> list[str]:
        """What is wrong in the end of a job that should be completed; empty when all is well."""
        wrong, events = self.books(job), self.ledger.events(job.id)
        lines = [event.data["message"] for event in events if event.type == "log"]
        if lines != LINES:
            wrong.append(f"{len(lines)} log lines arrived instead of {len(LINES)}, or other ones")
        if job.status is not JobStatus.COMPLETED:
            return [*wrong, f"the job ended as {job.status}: {job.reason}"]
        folder = home_of(job)
        found = {path.name: path.read_bytes() for path in folder.iterdir() if path.name in FILES}
        if found != FILES:
            wrong.append("the adapter is not the one that was trained")
        return wrong

    async def _follow(self, manager: ConnectorManager, id: str) -> None:
        async for event in manager.jobs.follow(id, len(self.seen)):
            if event.sequence:
                self.seen.append(event.sequence)
                await manager.jobs.get(id)
                self.compare(id)

    async def _is_made(self, id: str) -> bool:
        """True when the platform has the job; one whose answer was lost is settled first."""
        while not self.job(id).status.is_terminal and self.job(id).platform_id is None:
            self.wait(61)  # until a platform's "I know no such job" is believed
            await self.reconcile()
        return self.job(id).platform_id is not None

    async def _reconcile(self, manager: ConnectorManager) -> Account:
        (account,) = await Reconciler(manager, self.ledger).reconcile([self.connector.name])
        if account.error is not None:
            raise account.error
        return account

    async def _clear(self, manager: ConnectorManager, id: str) -> None:
        await manager.jobs.finish(id)
        if self.sandbox.bills():
            await Reconciler(manager, self.ledger).destroy(await self._reconcile(manager))


async def _submit(manager: ConnectorManager, connector: str, config: TrainingConfig) -> None:
    await manager.jobs.submit(connector, config, feed=False)

"""Carries out what is queued: connectors side by side, each one's operations one after the other."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from peft_studio.errors import (
    ArtifactNotFound,
    ConnectionFailed,
    InvalidCredentials,
    JobNotFound,
    PeftStudioError,
    RateLimitError,
)
from peft_studio.ledger import Ledger
from peft_studio.location import UnknownOutcome
from peft_studio.queue.backoff import backoff
from peft_studio.queue.kinds import KINDS, Attempt, Kind
from peft_studio.queue.operation import Again, Dead, Done, Operation, Outcome, State
from peft_studio.queue.store import Queue
from peft_studio.queue.submission import Unfinished
from peft_studio.session import is_refusal

if TYPE_CHECKING:
    from peft_studio.manager import ConnectorManager

#: Attempts that fail for a reason which may be the operation's own, before it is given up.
MOST_FAILURES = 8

_log = logging.getLogger(__name__)


@define
class Report:
    """What one drain has come to."""

    #: Operations that were settled, as they are now, in the order in which it happened.
    settled: list[Operation] = field(factory=list)
    #: Why a connector was left alone, by its name.
    unreachable: dict[str, PeftStudioError] = field(factory=dict)

    def count(self, state: State) -> int:
        """How many of them ended in that state."""
        return sum(operation.state is state for operation in self.settled)


@frozen
class Drainer:
    """Drains `queue` through `manager`, whose ledger is `ledger`; `on_settled` is told of each outcome."""

    queue: Queue
    manager: ConnectorManager
    ledger: Ledger
    kinds: Mapping[str, Kind] = KINDS
    random: Callable[[], float] = random.random
    on_settled: Callable[[Operation], None] | None = None

    async def drain(self, connectors: Collection[str] | None = None, *, only: int | None = None) -> Report:
        """Do everything that may be done now, at these connectors or at all; `only` one operation where one is named.

        What fails is in the report and in the queue: nothing is raised for an operation or a connector.
        """
        self.queue.sweep()
        report = Report()
        due = [name for name in self.queue.due(self.kinds) if connectors is None or name in connectors]
        await asyncio.gather(*(self._drain_connector(name, report, only) for name in due))
        self._bury()
        return report

    async def _drain_connector(self, name: str, report: Report, only: int | None) -> None:
        try:
            await self.manager.connect(name)
        except PeftStudioError as error:
            self._leave_alone(name, error, report)
            return
        self.queue.unpause(name)
        operation = self.queue.claim(name, self.kinds, only)
        while operation is not None:
            outcome = await self._attempt(operation, report)
            may_go_on = only is None and name not in report.unreachable
            following = None
            if may_go_on:
                following = self.queue.settle_and_claim(operation, outcome, self.kinds)
            else:
                self.queue.settle(operation, outcome)
            self._tell(operation, report)
            operation = following

    async def _attempt(self, operation: Operation, report: Report) -> Outcome:
        """Carry it out while its lease is renewed. Being cancelled gives it back."""
        heartbeat = asyncio.create_task(self._hold(operation))
        attempt = Attempt(operation=operation, manager=self.manager, ledger=self.ledger, queue=self.queue)
        try:
            return Done(await self.kinds[operation.kind].handle(attempt))
        except asyncio.CancelledError:
            self.queue.settle(operation, Again("it was interrupted"))
            raise
        except Unfinished as unfinished:
            return unfinished.outcome
        except Exception as error:  # noqa: BLE001 -- kept with the operation: one handler's fault stops no other one
            return self._outcome_of(error, operation, report)
        finally:
            heartbeat.cancel()

    async def _hold(self, operation: Operation) -> None:
        while True:
            await asyncio.sleep(self.queue.lease / 3)
            if not self.queue.renew(operation):
                _log.warning("operation %d was taken over: this process was away for too long", operation.number)
                return

    def _outcome_of(self, error: Exception, operation: Operation, report: Report) -> Outcome:
        reason = str(error) if isinstance(error, PeftStudioError) else f"{type(error).__name__}: {error}"
        pause = backoff(operation.attempts, self.random)
        if isinstance(error, ConnectionFailed | RateLimitError | InvalidCredentials):
            self._leave_alone(operation.connector, error, report)
            return Again(reason, delay=pause, is_doubtful=isinstance(error, ConnectionFailed))
        if _is_final(error):
            return Dead(reason)
        if operation.failures + 1 >= MOST_FAILURES:
            return Dead(f"{reason} (given up after {MOST_FAILURES} attempts)")
        return Again(reason, delay=pause, is_fault=True)

    def _leave_alone(self, name: str, error: PeftStudioError, report: Report) -> None:
        """Do not ask this connector again for a while: what waits for it would only time out one by one."""
        report.unreachable[name] = error
        wanted = getattr(error, "retry_after", None) or 0.0
        self.queue.pause(name, lambda failures: max(wanted, backoff(failures, self.random)), str(error))

    def _bury(self) -> None:
        """Tell of what is dead; also of what died in a process that was killed before it could."""
        for operation in self.queue.dead():
            kind = self.kinds.get(operation.kind)
            if kind is not None and kind.bury is not None:
                kind.bury(self.ledger, operation)

    def _tell(self, operation: Operation, report: Report) -> None:
        settled = self.queue.operation(operation.number)
        report.settled.append(settled)
        if self.on_settled is not None:
            self.on_settled(settled)


def _is_final(error: Exception) -> bool:
    """True when asking again would be answered in the same way."""
    if isinstance(error, UnknownOutcome):
        return False
    return isinstance(error, JobNotFound | ArtifactNotFound) or (
        isinstance(error, PeftStudioError) and is_refusal(error)
    )

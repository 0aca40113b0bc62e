"""Submitting a job: reviewed by policy plugins, written to the ledger, then asked of the platform."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, Protocol

import attrs

from peft_studio._calls.connections import Connections
from peft_studio.errors import InvalidConfig, PeftStudioError
from peft_studio.hooks import Outcome
from peft_studio.models import Problem
from peft_studio.redaction import mask
from peft_studio.registry import ConnectorRegistry
from peft_studio.session import is_refusal
from peft_studio.training_config import TrainingConfig

if TYPE_CHECKING:
    from peft_studio.ledger import Ledger


class SubmissionLedger(Protocol):
    """What the manager needs of a ledger. `peft_studio.Ledger` is one; an embedding program may bring its own."""

    def new_tag(self, config: TrainingConfig) -> str: ...

    def record_intent(self, tag: str, connector: str, config: TrainingConfig) -> None: ...

    def record_submitted(self, tag: str, platform_id: str) -> None: ...

    def record_refused(self, tag: str, reason: str) -> None: ...


class Submission(Connections):
    """Checks and starts jobs, so that none is ever forgotten or paid for twice."""

    def __init__(
        self,
        registry: ConnectorRegistry,
        ledger: SubmissionLedger | Literal[False] | None = None,
        credentials: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        super().__init__(registry, credentials)
        self._chosen_ledger = ledger
        self._own_ledger: Ledger | None = None

    async def validate_config(self, name: str, config: TrainingConfig) -> None:
        """What `submit_job` checks before it asks the platform: policy plugins, then the connector.

        Raises `InvalidConfig` with every problem.
        """
        session = self._session(name)
        await asyncio.to_thread(self._review, name, config)
        await session.validate(config)

    async def submit_job(self, name: str, config: TrainingConfig, *, tag: str | None = None, feed: bool = True) -> str:
        """Start a job and return the platform's id of it.

        The intent is in the ledger before the platform is called, under the tag that the connector gives to whatever it
        creates. It is settled by an id or by a refusal; a lost answer leaves it open, because the job may exist.
        `tag` is that of a submission that waited in the ledger's queue; any other one gets a new tag. Programs that
        submit to one account do so one after the other. A job on a machine that is rented for it is fed as well, which
        takes until the machine is up; without `feed` that is left to a later `feed_job`.
        """
        session = self._session(name)
        await self.validate_config(name, config)
        ledger = self._ledger()
        if ledger is None:
            platform_id = str(await session.ask("submit_job", str, config=config))
            return await self._fed(name, platform_id, config) if feed else platform_id
        tag = ledger.new_tag(config) if tag is None else tag
        config = attrs.evolve(config, tag=tag)
        async with self._accounts.buying(name):
            ledger.record_intent(tag, name, config)
            try:
                platform_id = str(await session.ask("submit_job", str, config=config))
            except PeftStudioError as error:
                if is_refusal(error):
                    ledger.record_refused(tag, str(error))
                raise
            ledger.record_submitted(tag, platform_id)
        return await self._fed(name, platform_id, config) if feed else platform_id

    async def feed_job(
        self, name: str, job_id: str, config: TrainingConfig, tell: Callable[[str], None] | None = None
    ) -> None:
        """Bring to a job what it needs to begin, where its connector has to; again is fine. `tell` hears how it goes.

        Raises `ConnectionFailed` when it may be tried again, `UnsupportedCapability` where there is nothing to bring.
        """
        heard = None if tell is None else lambda line: tell(mask(str(line)))
        await self._session(name).call("feed_job", job_id=job_id, config=config, tell=heard)

    def is_buying(self, name: str) -> bool:
        """True while a program submits to the account that `name` is connected to; False where nothing is bought."""
        self._opened(name)
        lock = self._accounts.lock(name)
        is_free = lock is None or lock.try_acquire()
        if lock is not None:
            lock.release()
        return not is_free

    async def disconnect_all(self) -> None:
        """Let every connection go, also when one of them fails to; the first failure is raised at the end.

        A ledger that the manager opened itself is closed too, and opened again when it is needed.
        """
        try:
            await super().disconnect_all()
        finally:
            if self._own_ledger is not None:
                self._own_ledger.close()
                self._own_ledger = None

    async def _fed(self, name: str, job_id: str, config: TrainingConfig) -> str:
        """The id, when the job has what it needs. What goes wrong says that the job is there all the same."""
        if self._session(name).offers("feed_job"):
            try:
                await self.feed_job(name, job_id, config)
            except PeftStudioError as error:
                error.add_note(f"{name} has the job as {job_id}: feed_job goes on with it, cancel_job ends it")
                raise
        return job_id

    def _ledger(self) -> SubmissionLedger | None:
        if self._chosen_ledger is not None:
            return self._chosen_ledger or None
        if self._own_ledger is None:
            from peft_studio.ledger import Ledger

            self._own_ledger = Ledger()
        return self._own_ledger

    def _review(self, name: str, config: TrainingConfig) -> None:
        outcomes = self.registry.ask("peft_studio_review_job", connector=name, config=config)
        problems = [problem for outcome in outcomes for problem in _problems_of(outcome)]
        if problems:
            raise InvalidConfig.from_problems("the job was not submitted", problems)


def _problems_of(outcome: Outcome) -> list[Problem]:
    """A reviewer's problems. One that cannot answer stops the job too: a policy that is silent has not agreed."""
    if outcome.error is None and isinstance(outcome.value or [], list | tuple):
        return [found if isinstance(found, Problem) else Problem(message=str(found)) for found in outcome.value or []]
    reason = getattr(outcome.error, "why", None) or outcome.error
    answer = f"answered {outcome.value!r}" if outcome.error is None else f"cannot: {reason}"
    return [Problem(message=f"{outcome.plugin} must review each job and {answer}; mend, deny or uninstall it")]

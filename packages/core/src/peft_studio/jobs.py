"""Jobs as a user knows them: submitted once, followed from anywhere, with one id whatever the platform.

The ledger keeps a copy of each job's events. Following a job first tells what is known, then asks the connector for
what came after: nothing is lost and nothing is told twice, however often the viewer goes away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import attrs

from peft_studio.artifacts import copy_verified
from peft_studio.breaker import Breakers
from peft_studio.budget import Budget
from peft_studio.errors import (
    ConnectionFailed,
    InvalidConfig,
    JobNotFound,
    PeftStudioError,
    PlatformError,
    RateLimitError,
    UnsupportedCapability,
)
from peft_studio.feeding import told
from peft_studio.homes import kept_adapter
from peft_studio.last_words import PAUSED_SECONDS, copy_paused, copy_rest
from peft_studio.ledger import JobRecord, Ledger
from peft_studio.location import locate
from peft_studio.metrics import metrics_of
from peft_studio.models import JobEvent, JobStatus
from peft_studio.prices import learn_price
from peft_studio.session import ConnectorFault
from peft_studio.training_config import TrainingConfig

if TYPE_CHECKING:
    from peft_studio.manager import ConnectorManager
    from peft_studio.reconcile.account import Ended

#: Events are copied to the ledger in batches: one write to the disk for so many, or for so many seconds.
BATCH = 500
BATCH_SECONDS = 0.2

#: Seconds between two looks at the budget of a job that is followed.
LOOK = 30.0

_log = logging.getLogger(__name__)


class Jobs:
    """The jobs of one ledger, reached through one manager."""

    def __init__(self, manager: ConnectorManager, ledger: Ledger) -> None:
        self._manager = manager
        self._ledger = ledger
        self._breakers = Breakers()

    async def submit(self, connector: str, config: TrainingConfig, *, feed: bool = True) -> JobRecord:
        """Start a job and return its record; without `feed` the first `follow` brings it what it needs."""
        await self._manager.connect(connector)
        config = attrs.evolve(config, provider=connector)
        job = self._ledger.job(await self._manager.submit_job(connector, config, feed=False))
        return await self.feed(job.id) if feed else job

    async def feed(self, id: str, tell: Callable[[str], None] | None = None) -> JobRecord:
        """Bring to a job that has not begun what it needs, where its platform cannot; `tell` hears how it goes.

        It may take minutes: a machine that was rented for the job comes up first. When that fails for good, the job is
        failed and the machine ended. Raises `ConnectionFailed` when it may be tried again.
        """
        job = self._ledger.job(id)
        if job.status is not JobStatus.PENDING or job.is_queued:
            return job
        platform_id, config = await self._reach(job), TrainingConfig.from_dict(job.config)
        try:
            await self._manager.feed_job(job.connector, platform_id, config, tell)
        except UnsupportedCapability:
            return job
        except (RateLimitError, ConnectorFault):  # it may work the next time
            raise
        except (InvalidConfig, PlatformError, JobNotFound) as error:
            self._ledger.record_lost(job.id, error.what if error.why is None else f"{error.what}: {error.why}")
            await self.finish(job.id, is_empty=True)
            raise
        await learn_price(self._manager, self._ledger, job)
        return self._ledger.job(job.id)

    async def finish(self, id: str, *, has_adapter: bool = False, is_empty: bool = False) -> list[Ended]:
        """End what was rented for a job that is over, after bringing home the rest of its log and its adapter.

        The adapter goes to its output_dir, or to the data directory, unless the caller has it. Nothing is ended while
        it cannot be saved. A job that `is_empty` never began. Where nothing is rented this does nothing.
        """
        from peft_studio.reconcile.teardown import finish

        job = self._ledger.job(id)
        if not job.status.is_terminal or job.platform_id is None:
            return []
        await self._reach(job)
        if not self._manager.rents_machines(job.connector):
            return []
        return await finish(self._manager, self._ledger, job, has_adapter=has_adapter, is_empty=is_empty)

    async def list_jobs(self) -> list[JobRecord]:
        """Every job, newest first; those that may still change are asked about.

        A platform that did not answer lately is left alone, for a while: its jobs are unreachable.
        """
        for job in self._ledger.jobs():
            if job.status not in (JobStatus.PENDING, JobStatus.RUNNING) or job.is_queued:
                continue
            if self._breakers.may_ask(job.connector):
                await self._refresh(job)
            else:
                self._ledger.record_unreachable(job.id)
        return self._ledger.jobs()

    async def get(self, id: str) -> JobRecord:
        """One job, asked about unless it is over."""
        job = self._ledger.job(id)
        if job.status.is_terminal:
            await copy_rest(job, self.drain, self._ledger)
        elif not job.is_queued:
            await self._refresh(job)
            await learn_price(self._manager, self._ledger, self._ledger.job(job.id))
        return self._ledger.job(job.id)

    async def follow(self, id: str, after: int = 0) -> AsyncGenerator[JobEvent]:
        """Events after that sequence number: what is known, then what comes, until the job stops.

        While a machine is made ready for the job its start is told in log events with the number 0, which are not kept.
        What was rented for the job is ended when the job is over and its adapter is home: see `finish`.
        """
        job = self._ledger.job(id)
        await copy_rest(job, self.drain, self._ledger)
        known = self._ledger.last_sequence(job.id)
        for event in self._ledger.events(job.id, after):
            if event.sequence <= known:  # another viewer may be adding more at this moment
                yield event
        if not job.status.is_terminal:
            async with self._watched(job), aclosing(self._living(job, known)) as events:
                async for event in events:
                    if event.sequence > after or event.sequence == 0:
                        yield event
            await self._settle(job)

    async def keep_within_budget(self, id: str) -> JobRecord:
        """One job, asked about; when its worker lets it pass max_cost or max_duration, it is cancelled."""
        job = await self.get(id)
        reason = None if job.status.is_terminal else Budget(job, self._ledger.clock()).excess()
        return job if reason is None or job.cancelling_since is not None else await self.cancel(job.id, reason)

    async def drain(self, id: str) -> None:
        """Copy what the platform has of the job's log and the ledger has not. Raises where `follow` does."""
        job = self._ledger.job(id)
        async for _ in self._incoming(job, self._ledger.last_sequence(job.id)):
            pass

    async def locate(self, id: str) -> str:
        """The platform's id of a job; one whose answer was lost is looked for, and adopted.

        Raises `UnknownOutcome` when the platform does not have it, or cannot tell.
        """
        return await self._reach(self._ledger.job(id))

    async def events(self, id: str) -> list[JobEvent]:
        """Everything that has happened so far, without waiting for more."""
        job = await self.get(id)
        return list(self._ledger.events(job.id))

    async def cancel(self, id: str, reason: str | None = None) -> JobRecord:
        """Stop a job for good; one that waits in the offline queue is never submitted.

        The wish is in the ledger before the platform is asked, and until the platform's own answer says that the job
        is over: `reconcile` goes on with it.
        """
        job = self._ledger.job(id)
        before = "cancelled before it was submitted"
        if job.is_queued and self._ledger.record_withdrawn(job.id, JobStatus.CANCELLED, before):
            return self._ledger.job(job.id)
        if not job.status.is_terminal:
            self._ledger.begin(job.id, "cancel", reason=reason)
        return await self.go_on_cancelling(job.id)

    async def go_on_cancelling(self, id: str) -> JobRecord:
        """Ask for what `cancel` has written down, and look whether it has happened."""
        job = self._ledger.job(id)
        platform_id = await self._reach(job)
        try:
            await self._manager.cancel_job(job.connector, platform_id)
        except JobNotFound as error:
            self._record_gone(job.id, error)
        except UnsupportedCapability:
            self._ledger.settle(job.id, "cancel", "refused")
            raise
        else:
            await self._refresh(job)
        await self.finish(job.id)
        return self._ledger.job(job.id)

    async def pause(self, id: str) -> JobRecord:
        """Stop a job at a checkpoint.

        The wish is in the ledger until the platform has answered: a machine that was rented for the job costs until it
        stands still, and `reconcile` goes on with it.
        """
        job = self._ledger.job(id)
        await self._reach(job)
        if not job.status.is_terminal:
            self._ledger.begin(job.id, "pause")
        return await self.go_on_pausing(job.id)

    async def go_on_pausing(self, id: str) -> JobRecord:
        """Ask for what `pause` has written down; what may work the next time leaves it open."""
        job = self._ledger.job(id)
        await self._reach(job)
        try:
            paused = await self._pause(job)
        except (ConnectionFailed, RateLimitError):
            raise
        except PeftStudioError:
            self._ledger.settle(job.id, "pause", "refused")
            raise
        if paused.status is not JobStatus.RUNNING:
            self._ledger.settle(job.id, "pause", "confirmed")
        return paused

    async def _pause(self, job: JobRecord) -> JobRecord:
        copying = []
        if self._manager.rents_machines(job.connector):  # its machine will stand still, and tell nothing any more
            copying.append(asyncio.create_task(self.drain(job.id)))
        try:
            return await self._command(job.id, "pause_job")
        finally:
            if copying:
                await asyncio.wait(copying, timeout=PAUSED_SECONDS)
                copying[0].cancel()
                await asyncio.gather(*copying, return_exceptions=True)

    async def resume(self, id: str) -> JobRecord:
        """Let a stopped job go on."""
        self._ledger.settle(self._ledger.job(id).id, "pause", "withdrawn")
        return await self._command(id, "resume_job", self._ledger.record_resumed)

    async def metrics(self, id: str) -> list[Mapping[str, Any]]:
        """Training and validation steps, oldest first. A step that was trained twice (resumed) is told once."""
        return metrics_of(await self.events(id))

    async def pull(self, id: str, destination: Path | str) -> Path:
        """Bring the adapter to `destination`, verified, from here when it has come home before.

        What was rented for the job is ended then. Raises `ArtifactNotFound` and `InvalidConfig`.
        """
        job = await self.get(id)
        kept = kept_adapter(self._ledger, job)
        if kept is not None:
            await asyncio.to_thread(copy_verified, kept, Path(destination))
            return Path(destination)
        path = await self._download(job, destination)
        await self.finish(job.id, has_adapter=True)
        return path

    async def save(self, id: str, destination: Path) -> Path:
        """As `pull`, always from the platform, and everything that was rented stays."""
        return await self._download(self._ledger.job(id), destination)

    async def _download(self, job: JobRecord, destination: Path | str) -> Path:
        return Path(await self._manager.download_artifact(job.connector, await self._reach(job), destination))

    async def _living(self, job: JobRecord, known: int) -> AsyncGenerator[JobEvent]:
        """How a job begins, then what it tells; a machine that has ended itself meanwhile took its job along."""
        try:
            feeding = told(lambda tell: self.feed(job.id, tell), self._ledger.clock)
            async with aclosing(feeding) as said:
                async for event in said:
                    yield event
            async with aclosing(self._incoming(job, known)) as events:
                async for event in events:
                    yield event
        except JobNotFound as error:
            if not self._manager.rents_machines(job.connector):
                raise
            self._record_gone(job.id, error)

    async def _settle(self, job: JobRecord) -> None:
        """After a job has stopped: nothing rented goes on for nothing."""
        if not self._manager.rents_machines(job.connector):
            return
        job = self._ledger.job(job.id)
        if job.status is JobStatus.PAUSED:  # by a limit, or by its own machine
            await self._stand_still(job)
        for ended in await self.finish(job.id):
            for problem in ended.problems:
                _log.warning("job %s: %s", job.id, problem)

    async def _stand_still(self, job: JobRecord) -> None:
        try:
            await self._manager.pause_job(job.connector, await self._reach(job))
        except UnsupportedCapability:
            _log.warning("job %s is paused, but its machine cannot stand still: it ends, and what is on it", job.id)

    def _record_gone(self, id: str, error: JobNotFound) -> None:
        """The platform does not have the job: so it was wished, or it is lost."""
        if self._ledger.job(id).cancelling_since is None:
            self._ledger.record_lost(id, str(error))
        else:
            self._ledger.record_reachable(id, JobStatus.CANCELLED)

    async def _incoming(self, job: JobRecord, after: int) -> AsyncGenerator[JobEvent]:
        """Ask the connector for what came after, and copy it; `after` is a number up to which the copy is whole."""
        stream = self._manager.stream_events(job.connector, await self._reach(job), after)
        fresh: list[JobEvent] = []
        written = monotonic()
        try:
            async with aclosing(stream) as events:
                async for event in events:
                    fresh.append(event)
                    yield event
                    if event.type == "state" or len(fresh) == BATCH or monotonic() - written > BATCH_SECONDS:
                        self._ledger.add_events(job.id, fresh)
                        fresh, written = [], monotonic()
        finally:
            self._ledger.add_events(job.id, fresh)

    async def _refresh(self, job: JobRecord) -> None:
        """Ask the connector; not being able to is noted beside the last known status."""
        try:
            status = await self._manager.get_job_status(job.connector, await self._reach(job))
            if self._is_silent(job, status):
                self._ledger.record_unreachable(job.id)
                return
            self._ledger.record_reachable(job.id, status)
            if status.is_terminal:
                await self.drain(job.id)
            elif status is JobStatus.PAUSED and job.status is not status:
                await copy_paused(job, self.drain)
            self._breakers.answered(job.connector)
        except JobNotFound as error:
            self._record_gone(job.id, error)
            self._breakers.answered(job.connector)
        except PeftStudioError as error:  # whatever keeps one job's platform from answering, the others are told of
            self._ledger.record_unreachable(job.id)
            self._breakers.note(job.connector, error)

    def _is_silent(self, job: JobRecord, status: JobStatus) -> bool:
        """True when a job that ran waits again: a rented machine does not go back to its start, its worker is mute."""
        is_back = (job.status, status) == (JobStatus.RUNNING, JobStatus.PENDING)
        return is_back and self._manager.rents_machines(job.connector)

    async def _command(self, id: str, method: str, record: Callable[[str], None] | None = None) -> JobRecord:
        job = self._ledger.job(id)
        await getattr(self._manager, method)(job.connector, await self._reach(job))
        if record is not None:
            record(job.id)
        await self._refresh(job)
        return self._ledger.job(job.id)

    async def _reach(self, job: JobRecord) -> str:
        return await locate(self._manager, self._ledger, job)

    @asynccontextmanager
    async def _watched(self, job: JobRecord) -> AsyncGenerator[None]:
        """Look at the budget meanwhile, where the job has one."""
        if not Budget.is_set(job):
            yield
            return
        watcher = asyncio.create_task(self._watch(job.id))
        try:
            yield
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)

    async def _watch(self, id: str) -> None:
        while True:
            try:
                job = await self.keep_within_budget(id)
            except PeftStudioError as error:  # the wish to cancel is written down, and is tried again
                _log.warning("job %s is past its budget and could not be cancelled: %s", id, error)
                job = self._ledger.job(id)
            left = Budget(job, self._ledger.clock()).seconds_left()
            await asyncio.sleep(LOOK if left is None else min(LOOK, max(1.0, left)))

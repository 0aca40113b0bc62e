"""Now if the platform can be reached, later if it cannot: for submissions, cancellations and uploads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from peft_studio.errors import ConnectionFailed, PlatformError
from peft_studio.ledger import JobRecord, Ledger
from peft_studio.paths import queue_file
from peft_studio.queue import requests
from peft_studio.queue.limits import Limits
from peft_studio.queue.operation import NewOperation, Operation, State
from peft_studio.queue.store import Queue
from peft_studio.training_config import TrainingConfig

if TYPE_CHECKING:
    from peft_studio.manager import ConnectorManager

_REMEDY = "peft-studio queue flush --watch"


class Queued(ConnectionFailed):
    """The platform could not be reached, and `operation` waits in the queue instead."""

    def __init__(self, what: str, operation: Operation, cause: ConnectionFailed | None = None) -> None:
        why = None if cause is None else f"{cause.what}: {cause.why}" if cause.why else cause.what
        super().__init__(what, why=why, remedy=_REMEDY, connector=None if cause is None else cause.connector)
        self.operation = operation


@frozen
class Deferred:
    """Submits and cancels through `manager`, whose ledger is `ledger`; opens the queue only when it is needed."""

    manager: ConnectorManager
    ledger: Ledger
    open_queue: Callable[[], Queue] = Queue

    async def submit(
        self, connector: str, config: TrainingConfig, limits: Limits | None = None, *, feed: bool = True
    ) -> JobRecord:
        """Start a job, as `Jobs.submit`; raises `Queued` when there is no connection, before anything was asked for.

        A connection that is lost later leaves the submission to `reconcile`: it may have arrived, so it is not queued.
        """
        try:
            await self.manager.connect(connector)
        except ConnectionFailed as error:
            with self.open_queue() as queue:
                operation = queue_submission(queue, self.ledger, connector, config, limits)
            raise Queued(f"job {operation.payload['tag']} is queued", operation, error) from error
        twin = self._twin(connector, config)
        if twin is not None:
            return await self._submit_queued(twin)
        return await self.manager.jobs.submit(connector, config, feed=feed)

    async def cancel(self, id: str) -> JobRecord:
        """Stop a job for good; raises `Queued` when the platform cannot be asked."""
        job = self.ledger.job(id)
        try:
            return await self.manager.jobs.cancel(job.id)
        except ConnectionFailed as error:
            with self.open_queue() as queue:
                operation = queue.enqueue(requests.cancel_job(job.connector, job.id))
            what = f"cancellation is queued; {job.connector} cannot be reached; job {job.id} may cost until then"
            raise Queued(what, operation, error) from error

    async def upload(self, connector: str, path: Path, metadata: Mapping[str, Any]) -> str:
        """Publish a file or folder; returns its id there. Raises `Queued` when the registry cannot be reached."""
        try:
            await self.manager.connect(connector)
            return await self.manager.upload_artifact(connector, path, metadata)
        except ConnectionFailed as error:
            with self.open_queue() as queue:
                operation = queue.enqueue(requests.upload_artifact(connector, path, metadata))
            raise Queued(f"the upload of {path} is queued", operation, error) from error

    def _twin(self, connector: str, config: TrainingConfig) -> Operation | None:
        """The same submission, queued earlier: making another one now would be paid for twice."""
        if self.open_queue is Queue and not queue_file().exists():
            return None
        with self.open_queue() as queue:
            found = queue.find(connector, requests.submit_job(connector, config, tag="").key)
        return found if found is not None and not found.state.is_over else None

    async def _submit_queued(self, twin: Operation) -> JobRecord:
        """Make the queued submission now; whoever asks for it now agrees to today's price."""
        from peft_studio.queue.drain import Drainer

        with self.open_queue() as queue:
            if twin.state is not State.RUNNING:
                queue.confirm(twin.number, {"accepted": "any"})
                await Drainer(queue, self.manager, self.ledger).drain([twin.connector], only=twin.number)
            settled = queue.operation(twin.number)
        tag = twin.payload["tag"]
        if settled.state is State.DONE:
            return self.ledger.job(tag)
        if settled.state is State.DEAD:
            raise PlatformError(f"job {tag} was not submitted", why=settled.reason)
        cause = ConnectionFailed(settled.reason) if settled.reason else None
        raise Queued(f"job {tag}, which was queued before, is {settled.state}", settled, cause)


def queue_submission(
    queue: Queue, ledger: Ledger, connector: str, config: TrainingConfig, limits: Limits | None = None
) -> Operation:
    """Queue a submission, so that the ledger shows the job as pending; the same one is queued once.

    The queue comes first: what the ledger lacks after a kill is filled in when the operation is carried out.
    """
    operation = queue.enqueue(_submission(ledger, connector, config, limits))
    ledger.record_queued(operation.payload["tag"], connector, config)
    return operation


def _submission(ledger: Ledger, connector: str, config: TrainingConfig, limits: Limits | None) -> NewOperation:
    return requests.submit_job(connector, config, tag=ledger.new_tag(config), limits=limits)

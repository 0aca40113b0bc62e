"""How each kind of operation is carried out: a small function that calls `ConnectorManager`.

A handler may run again after an attempt of which nobody knows how it ended (`Operation.is_doubtful`), so each one says
here what makes that harmless. An embedding program adds kinds of its own to a copy of `KINDS`.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from peft_studio.errors import InvalidConfig, JobNotFound, UnsupportedCapability
from peft_studio.ledger import Ledger
from peft_studio.models import JobStatus
from peft_studio.queue.operation import Operation, State
from peft_studio.queue.requests import content_digest, start_key
from peft_studio.queue.store import Queue
from peft_studio.queue.submission import bury_submission, revive_submission, submit_job

if TYPE_CHECKING:
    from peft_studio.manager import ConnectorManager


@frozen(kw_only=True)
class Attempt:
    """What a handler is given. The connector is connected."""

    operation: Operation
    manager: ConnectorManager
    ledger: Ledger
    queue: Queue

    @property
    def connector(self) -> str:
        """Name of the connector."""
        return self.operation.connector

    @property
    def payload(self) -> Mapping[str, Any]:
        """What was queued."""
        return self.operation.payload


@frozen(kw_only=True)
class Kind:
    """One kind of operation. What `handle` returns is kept as its result."""

    handle: Callable[[Attempt], Awaitable[Any]]
    #: May be cut short at any moment without harm, so that a command with little time may begin it.
    is_brief: bool = True
    #: Told of an operation that is dead or dropped; it must do nothing when it is told again.
    bury: Callable[[Ledger, Operation], None] | None = None
    #: Told of a dead operation before the user has it tried again.
    revive: Callable[[Ledger, Operation], None] | None = None


async def cancel_job(attempt: Attempt) -> Any:
    """Stopping twice is stopping once; a job that the platform does not know need not be stopped."""
    try:
        job = await attempt.manager.jobs.cancel(attempt.payload["job_id"])
    except JobNotFound as error:
        return str(error)
    return str(job.status)


async def stop_deployment(attempt: Attempt) -> Any:
    """Stopping twice is stopping once."""
    try:
        return await attempt.manager.stop_deployment(attempt.connector, attempt.payload["deployment_id"])
    except JobNotFound as error:
        return str(error)


async def upload_artifact(attempt: Attempt) -> Any:
    """The same bytes under the same name, however often; changed ones are refused."""
    path = Path(attempt.payload["path"])
    if content_digest(path) != attempt.payload["content"]:
        raise InvalidConfig(f"{path} has changed since it was queued", remedy="queue it anew")
    return await attempt.manager.upload_artifact(attempt.connector, path, attempt.payload["metadata"])


async def start_run(attempt: Attempt) -> Any:
    """A repetition may leave an empty run behind: nothing tells the tracker that it is the same one."""
    return await attempt.manager.start_run(attempt.connector, attempt.payload["config"])


async def log_metrics(attempt: Attempt) -> None:
    """A doubtful one is looked for at the tracker before it is repeated."""
    run_id, step, metrics = _run_id(attempt), attempt.payload["step"], attempt.payload["metrics"]
    if attempt.operation.is_doubtful and await _is_logged(attempt, run_id, step, metrics):
        return
    await attempt.manager.log_metrics(attempt.connector, run_id, metrics, step)


async def log_text(attempt: Attempt) -> None:
    """A repetition may double a line."""
    await attempt.manager.log_text(attempt.connector, _run_id(attempt), attempt.payload["text"])


async def log_events(attempt: Attempt) -> Any:
    """The same events at the same place: a repetition changes nothing where the tracker knows places."""
    from peft_studio.tracking.carry import log_events as carry

    return await carry(attempt, _run_id(attempt))


async def finish_run(attempt: Attempt) -> None:
    """The same state again changes nothing."""
    await attempt.manager.finish_run(attempt.connector, _run_id(attempt), JobStatus(attempt.payload["status"]))


def _run_id(attempt: Attempt) -> str:
    """The tracker's id of the run: the result of the operation that opened it, which stands before this one."""
    run = attempt.payload["run"]
    start = attempt.queue.find(attempt.connector, start_key(run))
    if start is None or start.state is not State.DONE:
        why = None if start is None else start.reason
        raise InvalidConfig(f"run {run} was never opened at {attempt.connector}", why=why)
    return str(start.result)


async def _is_logged(attempt: Attempt, run_id: str, step: int, metrics: Mapping[str, float]) -> bool:
    try:
        rows = await attempt.manager.get_metrics(attempt.connector, run_id)
    except UnsupportedCapability:  # such a tracker cannot tell; a row twice is better than none
        return False
    return any(row.get("step") == step and _has(row, metrics) for row in rows)


def _has(row: Mapping[str, Any], metrics: Mapping[str, float]) -> bool:
    return all(name in row and _same(row[name], value) for name, value in metrics.items())


def _same(one: Any, other: float) -> bool:
    return bool(one == other) or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


#: Every kind that core knows.
KINDS: Mapping[str, Kind] = {
    "submit_job": Kind(handle=submit_job, is_brief=False, bury=bury_submission, revive=revive_submission),
    "cancel_job": Kind(handle=cancel_job),
    "stop_deployment": Kind(handle=stop_deployment),
    "upload_artifact": Kind(handle=upload_artifact, is_brief=False),
    "start_run": Kind(handle=start_run, is_brief=False),
    "log_metrics": Kind(handle=log_metrics),
    "log_text": Kind(handle=log_text, is_brief=False),
    "log_events": Kind(handle=log_events),
    "finish_run": Kind(handle=finish_run),
}

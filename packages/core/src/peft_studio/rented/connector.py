"""`RentedMachineConnector`: the life of a job on a machine that is rented for it, written once for all platforms.

A platform that rents out bare machines says how to find, rent, stop and end one. The rest is the same everywhere: the
machine runs the worker, the worker gets the job's inputs over the network, tells what happens, and keeps the artifact
until it is fetched. The job's id is the machine's; the machine carries the tag of the submission.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from abc import abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar, Final

from attrs import frozen

from peft_studio import __version__
from peft_studio._transport.errors import pause
from peft_studio.connector import TrainingConnector
from peft_studio.errors import (
    CapacityError,
    ConnectionFailed,
    JobNotFound,
    PeftStudioError,
    PlatformError,
    RateLimitError,
)
from peft_studio.lines import LineWriter
from peft_studio.models import JobEvent, JobStatus, Rental
from peft_studio.rented.boot import ATTEMPTS, BOOT_TIME, Boot
from peft_studio.rented.inputs import check_inputs, inputs_of
from peft_studio.rented.machine import Launch, Machine, MachineState, Offer, worker_token
from peft_studio.rented.script import bootstrap_script
from peft_studio.rented.worker import Worker, WorkerState
from peft_studio.training_config import TrainingConfig

#: Port of the worker, and the folder that survives a stop.
PORT: Final = 8000
MOUNT: Final = "/workspace"
#: Seconds for readers of a paused job's events, until its machine stands still.
LAST_WORDS: Final = 1.0


@frozen(kw_only=True)
class Limits:
    """What ends a machine that nobody looks after, seconds."""

    #: From its creation, where the job itself sets no max_duration.
    deadline: float = 72 * 3600.0
    #: How long an artifact waits to be fetched.
    keep: float = 12 * 3600.0
    #: How long the machine waits for a job.
    wait: float = 1800.0


class RentedMachineConnector(TrainingConnector):
    """A platform that rents out bare machines. Write the part of the platform; the part of the job is here."""

    rents_machines: ClassVar[bool] = True
    #: How errors of the worker name the connector.
    label: ClassVar[str | None] = None

    # The part of the platform.

    @property
    @abstractmethod
    def account_secret(self) -> str:
        """The secret of `connect`, of which tokens are derived that belong to one job each."""

    @abstractmethod
    async def list_offers(self, config: TrainingConfig) -> Sequence[Offer]:
        """What could be rented for this job now, the best first. Raises `InvalidConfig` for an unknown resource."""

    @abstractmethod
    async def rent(self, offer: Offer, launch: Launch) -> Machine:
        """Rent it, once, and let it run `launch`.

        Raises `CapacityError` when this offer cannot be had, and nothing was made: the next one is tried. Any other
        error ends the submission. Raises `ConnectionFailed` when nobody knows whether it was made.
        """

    @abstractmethod
    async def get_machine(self, id: str) -> Machine:
        """The machine as it is now. Raises `JobNotFound` when the platform does not have it."""

    @abstractmethod
    async def list_machines(self) -> list[Machine]:
        """All machines of the account that are there, whoever rented them, every page."""

    @abstractmethod
    async def end_machine(self, id: str) -> None:
        """End it for good, with everything on it; one that is gone is fine."""

    @abstractmethod
    def boot_log(self, id: str) -> AsyncGenerator[str]:
        """What the platform shows of the machine's start, line by line as it comes; it need not end."""

    @abstractmethod
    def teardown_steps(self) -> Sequence[Mapping[str, Any]]:
        """How the machine ends itself from inside: the recipe of docs/reference/worker.md."""

    async def stop_machine(self, id: str) -> None:
        """Let it stand still, its mount kept."""
        self._refuse("training", "pause jobs")

    async def start_machine(self, id: str) -> None:
        """Let a stopped one run again. Raises `CapacityError` when its host is taken."""
        self._refuse("training", "resume jobs")

    def worker_variables(self, config: TrainingConfig) -> Mapping[str, str]:
        """More environment for the machine, such as a registry's token. Without `PEFT_STUDIO_WORKER_` in the names."""
        return {}

    @property
    def limits(self) -> Limits:
        """What ends a machine that nobody looks after."""
        return Limits()

    # The part of the job.

    def validate_config(self, config: TrainingConfig) -> Any:
        """Raise `InvalidConfig` for what could not be uploaded."""
        check_inputs(config)

    async def submit_job(self, config: TrainingConfig) -> str:
        """Rent a machine: the first offer that can be had. `feed_job` brings the job to it.

        Raises `CapacityError` with the reason of each offer that was refused.
        """
        tag = config.tag or f"ps-{secrets.token_hex(6)}"
        refused = []
        for offer in await self.list_offers(config):
            try:
                return (await self.rent(offer, self._launch(tag, config, offer))).id
            except CapacityError as error:
                refused.append(f"{offer.words}: {error.why or error.what}")
        raise CapacityError("no machine could be rented", why="; ".join(refused) or "nothing that fits is on offer")

    async def feed_job(self, job_id: str, config: TrainingConfig, tell: Callable[[str], None] | None = None) -> None:
        """Wait for the machine's worker, upload what the job needs, and let it begin; again is fine.

        `tell` hears the platform's log of the machine's start, and how far the upload is. Raises `PlatformError` with
        the last of that log when the worker does not come up.
        """
        told = _NewsOnly(tell)
        boot = Boot(self, job_id)
        async with aclosing(boot.lines()) as lines:
            async for line in lines:
                told(line)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                await self._bring(boot.machine, config, told)
                break
            except (ConnectionFailed, RateLimitError) as error:
                if attempt == ATTEMPTS:
                    raise
                rest = _rest(error, attempt)
            await asyncio.sleep(rest)

    async def get_job_status(self, job_id: str) -> JobStatus:
        """What the worker says; before it speaks, what the platform says of the machine."""
        machine = await self.get_job_machine(job_id)
        if machine.state is not MachineState.RUNNING:
            return _STANDING[machine.state]
        said = await self._said(machine)
        return JobStatus.PENDING if said is None else said.status

    async def cancel_job(self, job_id: str) -> bool:
        """Stop the job for good; True when it is over. A machine without a worker that answers is ended."""
        machine = await self.get_job_machine(job_id)
        if machine.state is not MachineState.RUNNING:
            await self.end_machine(job_id)
            return True
        async with self.worker_of(machine) as worker:
            state = await _state_or_none(worker)
            if state is None or not state.has_job:
                await self.end_machine(job_id)
                return True
            if not state.status.is_terminal:
                await worker.stop("cancel")
                state = await worker.until(lambda status: status.is_terminal)
        return state.status.is_terminal

    async def pause_job(self, job_id: str) -> bool:
        """Stop the job with a checkpoint, then the machine: what the mount holds stays."""
        machine = await self.get_job_machine(job_id)
        if machine.state is MachineState.STOPPED:
            return True
        async with self.worker_of(_required_running(machine)) as worker:
            if (await worker.state()).status is not JobStatus.PAUSED:
                await worker.stop("pause")
            state = await worker.until(lambda status: status is not JobStatus.RUNNING)
        if state.status is not JobStatus.PAUSED:
            return False
        await asyncio.sleep(LAST_WORDS)  # whoever reads the events gets the last ones
        await self.stop_machine(job_id)
        return True

    async def resume_job(self, job_id: str) -> bool:
        """Start the machine again where it was stopped, and let the job go on from its checkpoint.

        A machine on which it cannot go on, or is not waited for, is stopped again.
        """
        machine = await self.get_job_machine(job_id)
        if machine.state is not MachineState.STOPPED:
            return await self._go_on(job_id)
        await self.start_machine(job_id)
        try:
            return await self._go_on(job_id)
        except (PlatformError, asyncio.CancelledError):
            await self.stop_machine(job_id)
            raise

    async def stream_logs(self, job_id: str) -> AsyncIterator[str]:
        """What the platform shows until the worker speaks, then the job's own log."""
        lines = LineWriter()
        machine = await self.get_job_machine(job_id)
        is_running = machine.state is MachineState.RUNNING
        if machine.state is MachineState.STARTING or (is_running and await self._said(machine) is None):
            async with aclosing(Boot(self, job_id).lines()) as said:
                async for line in said:
                    yield line
        async with aclosing(self.stream_events(job_id)) as events:
            async for event in events:
                said_now = None if event.type == "state" else lines.line(event)
                if said_now is not None:
                    yield said_now

    async def stream_events(self, job_id: str, after: int = 0) -> AsyncGenerator[JobEvent]:
        """The worker's event log; ends with the job, or while its machine stands still."""
        machine = await self.get_job_machine(job_id)
        if machine.state is MachineState.STARTING:
            machine = await Boot(self, job_id).is_there()
        fruitless = 0
        while machine.state is MachineState.RUNNING:
            try:
                async with self.worker_of(machine) as worker, aclosing(worker.events(after)) as events:
                    async for event in events:
                        after, fruitless = event.sequence, 0
                        yield event
                return
            except (ConnectionFailed, RateLimitError) as error:
                fruitless += 1
                rest = _rest(error, fruitless)
                machine = await self.get_job_machine(job_id)
                if fruitless >= ATTEMPTS and machine.state is MachineState.RUNNING:
                    raise
                await asyncio.sleep(rest)

    async def download_artifact(self, job_id: str, destination: Path) -> Path:
        """Bring the adapter to `destination`, verified; what has arrived is gone on with at the next call."""
        machine = _required_running(await self.get_job_machine(job_id))
        async with self.worker_of(machine) as worker:
            await worker.download(destination)
        return destination

    async def get_job_cost(self, job_id: str) -> Decimal | None:
        """The machine's age at its price now; a time for which it stood still counts in full."""
        machine = await self.get_job_machine(job_id)
        if machine.created is None or machine.hourly_rate is None or machine.currency != "USD":
            return None
        return machine.hourly_rate * Decimal((datetime.now(UTC) - machine.created).total_seconds()) / 3600

    async def find_job(self, tag: str) -> str | None:
        """The oldest machine with that tag."""
        found = [machine for machine in await self.list_machines() if machine.tag == tag]
        return min(found, key=_age).id if found else None

    async def list_rentals(self) -> list[Rental]:
        """All machines of the account."""
        return [machine.rental for machine in await self.list_machines()]

    async def end_rental(self, rental_id: str) -> bool:
        """End the machine; True when the platform does not list it any more."""
        await self.end_machine(rental_id)
        return rental_id not in {machine.id for machine in await self.list_machines()}

    def worker_of(self, machine: Machine) -> Worker:
        """The client of the worker there. Raises `ConnectionFailed` while the machine has no address."""
        if machine.address is None or machine.tag is None:
            raise ConnectionFailed(f"machine {machine.id} has no address yet", why=f"it is {machine.status}")
        token = machine.token or worker_token(self.account_secret, machine.tag)
        return Worker(machine.address, token, label=self.label)

    async def get_job_machine(self, id: str) -> Machine:
        """As `get_machine`, for one that was rented for a job; `JobNotFound` for any other."""
        machine = await self.get_machine(id)
        if machine.tag is None:
            raise JobNotFound(f"machine {id} was not rented for a job", why="it has no tag of ours")
        return machine

    async def _said(self, machine: Machine) -> WorkerState | None:
        """What the worker says; None while it comes up."""
        async with self.worker_of(machine) as worker:
            try:
                return await worker.state()
            except ConnectionFailed as error:
                if self._is_booting(machine, error):
                    return None
                raise

    async def _go_on(self, job_id: str) -> bool:
        """A job that was over before its machine was stopped is left so: its adapter can be fetched."""
        machine = await Boot(self, job_id).is_there()
        async with self.worker_of(machine) as worker:
            if (await worker.state()).status not in (JobStatus.RUNNING, JobStatus.COMPLETED, JobStatus.CANCELLED):
                await worker.resume()
            state = await worker.until(lambda status: status not in (JobStatus.PAUSED, JobStatus.PENDING))
        return state.status is not JobStatus.PAUSED

    async def _bring(self, machine: Machine, config: TrainingConfig, tell: Callable[[str], None]) -> None:
        async with self.worker_of(machine) as worker:
            if (await worker.state()).has_job:
                return
            there, inputs = await asyncio.to_thread(inputs_of, config)

            def progress(done: int, size: int) -> None:
                tell(f"uploaded {done / 2**20:.1f} of {size / 2**20:.1f} MiB")

            await worker.start(there, inputs, created=machine.created, tell=progress)

    def _launch(self, tag: str, config: TrainingConfig, offer: Offer) -> Launch:
        limits = self.limits
        life = limits.deadline if config.max_duration is None else config.max_duration + BOOT_TIME + limits.keep
        settings = {
            "JOB": tag,
            "TOKEN": worker_token(self.account_secret, tag),
            "ROOT": f"{MOUNT}/peft-studio",
            "PORT": str(PORT),
            "VERSION": __version__,
            "DEADLINE": f"{life:g}",
            "KEEP": f"{limits.keep:g}",
            "WAIT": f"{limits.wait:g}",
            "MAX_COST": None if config.max_cost is None else str(config.max_cost),
            "HOURLY_RATE": None if offer.hourly_rate is None else str(offer.hourly_rate),
            "TEARDOWN": json.dumps(list(self.teardown_steps())),
        }
        ours = {f"PEFT_STUDIO_WORKER_{name}": value for name, value in settings.items() if value is not None}
        variables = {**self.worker_variables(config), **ours}
        return Launch(tag=tag, script=bootstrap_script(), variables=variables, port=PORT, mount=MOUNT)

    def _is_booting(self, machine: Machine, error: ConnectionFailed) -> bool:
        """True when the platform itself says that nothing listens there, on a machine that is young."""
        is_young = machine.created is not None and datetime.now(UTC) - machine.created < timedelta(seconds=BOOT_TIME)
        return is_young and self.says_nothing_listens(error)

    def says_nothing_listens(self, error: ConnectionFailed) -> bool:
        """True when the error is the word of the platform's proxy that no program listens on the port (yet)."""
        return error.http_status in (HTTPStatus.BAD_GATEWAY, HTTPStatus.NOT_FOUND)


_STANDING: Final = {
    MachineState.STARTING: JobStatus.PENDING,
    MachineState.STOPPED: JobStatus.PAUSED,
    MachineState.BROKEN: JobStatus.FAILED,
}


async def _state_or_none(worker: Worker) -> WorkerState | None:
    """None when the worker does not answer."""
    try:
        return await worker.state()
    except ConnectionFailed:
        return None


def _rest(error: PeftStudioError, attempt: int) -> float:
    """Seconds before the next attempt; what is in the way may want to be left alone for longer."""
    return pause(attempt, getattr(error, "retry_after", None) or 0.0)


def _required_running(machine: Machine) -> Machine:
    if machine.state is not MachineState.RUNNING:
        raise PlatformError(f"machine {machine.id} does not run", why=f"it is {machine.status}")
    return machine


def _age(machine: Machine) -> datetime:
    return machine.created or datetime.max.replace(tzinfo=UTC)


class _NewsOnly:
    """Tells each line, unless it is the one that was told last."""

    def __init__(self, tell: Callable[[str], None] | None) -> None:
        self._tell = tell
        self._last = ""

    def __call__(self, line: str) -> None:
        if self._tell is not None and line != self._last:
            self._tell(line)
        self._last = line

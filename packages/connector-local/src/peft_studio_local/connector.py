"""The local connector: jobs as supervised processes of this machine, one folder each, that outlive their client."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from peft_studio.artifacts import copy_verified
from peft_studio.connector import TrainingConnector
from peft_studio.errors import ArtifactNotFound, InvalidConfig, JobNotFound, PlatformError
from peft_studio.lines import LineWriter
from peft_studio.models import JobEvent, JobStatus, PricingInfo, Resource
from peft_studio.paths import data_dir
from peft_studio.training_config import TrainingConfig
from peft_studio_local import __version__, launch, observe
from peft_studio_local.resources import machine_resources
from peft_studio_worker.events import EventTail
from peft_studio_worker.job_folder import JobFolder


class LocalConnector(TrainingConnector):
    """Fine-tunes on this machine. Needs no credentials; `electricity_price` and `power_watts` give a job its cost."""

    name = "local"
    display_name = "This machine"
    description = "Fine-tunes on the CPU or GPUs of this machine: no account, no server"
    version = __version__

    def __init__(self, jobs: Path | None = None) -> None:
        self._jobs = data_dir() / "jobs" if jobs is None else jobs
        self._hourly_rate = Decimal(0)

    async def connect(self, credentials: Mapping[str, str]) -> bool:
        """Read the settings. Raises `InvalidConfig` when they are not numbers, or one of the two is missing."""
        price, watts = credentials.get("electricity_price"), credentials.get("power_watts")
        if (price is None) != (watts is None):
            raise InvalidConfig("electricity_price (per kWh) and power_watts are needed together, or neither")
        if price is not None and watts is not None:
            self._hourly_rate = _amount("electricity_price", price) * _amount("power_watts", watts) / 1000
        return True

    async def disconnect(self) -> bool:
        """Nothing to let go: jobs run on."""
        return True

    def validate_config(self, config: TrainingConfig) -> None:
        """Refuse what can be seen to fail before the job starts."""
        launch.check(config)

    async def submit_job(self, config: TrainingConfig) -> str:
        """Make the job's folder and start its supervisor; returns the job's id, which is its tag."""
        if config.resource_id is not None:
            await self._require_resource(config.resource_id)
        self.validate_config(config)
        job_id = config.tag or f"ps-{secrets.token_hex(5)}"
        folder = await asyncio.to_thread(launch.create, self._jobs, job_id, config, self._hourly_rate)
        await asyncio.to_thread(launch.start, folder)
        return job_id

    async def get_job_status(self, job_id: str) -> JobStatus:
        """The job's status, told from its own log and lock."""
        return await asyncio.to_thread(observe.settled_status, self._folder(job_id))

    async def cancel_job(self, job_id: str) -> bool:
        """Stop the job for good, running or paused; True when it is over, also when it was before."""
        folder = self._folder(job_id)
        if not observe.cancel_stopped(folder):
            folder.write_request("cancel")
            await self._until(lambda: not folder.is_alive())
        return (await self.get_job_status(job_id)).is_terminal

    async def pause_job(self, job_id: str) -> bool:
        """Stop at the next step with a checkpoint; returns when it is written."""
        folder = self._folder(job_id)
        status = await self.get_job_status(job_id)
        if status is not JobStatus.RUNNING:
            raise PlatformError(f"job {job_id} is {status}, not running")
        folder.write_request("pause")
        await self._until(lambda: not folder.is_alive())
        return await self.get_job_status(job_id) is JobStatus.PAUSED

    async def resume_job(self, job_id: str) -> bool:
        """Go on from the last checkpoint, or from the start where none was written yet."""
        folder = self._folder(job_id)
        status = await self.get_job_status(job_id)
        state = folder.last_state()
        if status not in (JobStatus.PAUSED, JobStatus.FAILED) or state is None or not state.data.get("resumable"):
            raise PlatformError(f"job {job_id} is {status} and cannot be resumed")
        folder.take_request()
        await asyncio.to_thread(launch.start, folder)
        await self._until(lambda: folder.last_state() != state or not folder.is_alive())  # its first word
        return True

    async def stream_logs(self, job_id: str) -> AsyncIterator[str]:
        """Log lines from the first one, until the job stops."""
        lines = LineWriter()
        async for event in self.stream_events(job_id):
            if (line := lines.line(event)) is not None:
                yield line

    async def stream_events(self, job_id: str, after: int = 0) -> AsyncIterator[JobEvent]:
        """Events after that sequence number, until the job stops."""
        async for event in observe.follow(self._folder(job_id), after):
            yield event

    async def get_metrics(self, job_id: str) -> list[Mapping[str, Any]]:
        """Training and validation steps, oldest first."""
        events = EventTail(self._folder(job_id).events).read()
        return [{"type": event.type, **event.data} for event in events if event.type in ("step", "eval")]

    async def find_job(self, tag: str) -> str | None:
        """The job submitted with that tag."""
        return tag if (self._jobs / tag / "job.json").is_file() else None

    async def download_artifact(self, job_id: str, destination: Path) -> Path:
        """Copy the adapter folder, verified."""
        folder = self._folder(job_id)
        if not folder.artifact.is_dir():
            raise ArtifactNotFound(f"job {job_id} is {await self.get_job_status(job_id)} and has no adapter yet")
        await asyncio.to_thread(copy_verified, folder.artifact, destination)
        return destination

    async def list_resources(self) -> list[Resource]:
        """The machine's GPUs and CPU."""
        return await asyncio.to_thread(machine_resources)

    async def get_pricing(self, resource_id: str) -> PricingInfo:
        """Nothing, or the electricity where its price was given. Raises `InvalidConfig` for an unknown resource."""
        await self._require_resource(resource_id)
        source = "settings: electricity_price and power_watts" if self._hourly_rate else "your own machine"
        return PricingInfo(resource_id=resource_id, hourly_rate=self._hourly_rate, billing_increment=1, source=source)

    def _folder(self, job_id: str) -> JobFolder:
        folder = JobFolder(self._jobs / job_id)
        if Path(job_id).name != job_id or not (folder.path / "job.json").is_file():
            raise JobNotFound(f"no job {job_id!r} in {self._jobs}")
        return folder

    async def _require_resource(self, resource_id: str) -> None:
        known = {resource.id for resource in await self.list_resources()}
        if resource_id not in known:
            raise InvalidConfig(f"this machine has no resource {resource_id!r}, only {', '.join(sorted(known))}")

    async def _until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():  # noqa: ASYNC110 -- the job is another process: there is no event to wait for
            await asyncio.sleep(observe.POLL)


def _amount(field: str, value: str) -> Decimal:
    try:
        amount = Decimal(value)
    except InvalidOperation:
        raise InvalidConfig(f"{field} must be a number, not {value!r}") from None
    if not amount.is_finite() or amount < 0:
        raise InvalidConfig(f"{field} must be 0 or more, not {value!r}")
    return amount

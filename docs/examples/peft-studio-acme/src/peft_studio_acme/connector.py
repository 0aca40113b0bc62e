"""Acme in the words of PEFT Studio: what each method asks of the platform."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from peft_studio import (
    ArtifactNotFound,
    ConnectionFailed,
    InvalidConfig,
    InvalidCredentials,
    JobStatus,
    Observed,
    PricingInfo,
    Problem,
    Rental,
    Resource,
    TrainingConfig,
    TrainingConnector,
    Transport,
)

from peft_studio_acme import __version__
from peft_studio_acme.api import AcmeApi, Job, JobRequest, Machine
from peft_studio_acme.files import bring_home, described

BASE_URL: Final = "https://api.acme.example"

#: The platform's words for a job, and ours. A word that is not here is an error, never a guess.
STATUSES: Final = {
    "QUEUED": JobStatus.PENDING,
    "STARTING": JobStatus.PENDING,
    "RUNNING": JobStatus.RUNNING,
    "PAUSED": JobStatus.PAUSED,
    "SUCCEEDED": JobStatus.COMPLETED,
    "FAILED": JobStatus.FAILED,
    "CANCELLED": JobStatus.CANCELLED,
}

#: What the platform knows how to do.
ALGORITHMS: Final = ("lora", "qlora", "dora", "rslora")


class AcmeConnector(TrainingConnector):
    """Jobs on Acme."""

    name = "acme"
    display_name = "Acme"
    description = "Jobs on Acme"
    version = __version__

    def __init__(self) -> None:
        self._connection: AcmeApi | None = None

    async def connect(self, credentials: Mapping[str, str]) -> bool:
        """Ask for the account, which tells whether the key is good; only then is an older connection replaced."""
        key = credentials.get("api_key")
        if not key:
            raise InvalidCredentials("there is no api_key", remedy="set ACME_API_KEY")
        address = credentials.get("base_url") or BASE_URL
        api = AcmeApi(Transport(address, headers={"Authorization": f"Bearer {key}"}, secrets=[key]))
        try:
            await api.account()
        except BaseException:
            await api.close()
            raise
        previous, self._connection = self._connection, api
        if previous is not None:
            await previous.close()
        return True

    async def disconnect(self) -> bool:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
        return True

    async def verify_connection(self) -> bool:
        try:
            await self._api.account()
        except (ConnectionFailed, InvalidCredentials):
            return False
        return True

    def get_required_credentials(self) -> list[str]:
        return ["api_key"]

    @property
    def observed(self) -> Observed | None:
        return None if self._connection is None else self._connection.observed

    @property
    def _api(self) -> AcmeApi:
        if self._connection is None:
            raise ConnectionFailed("not connected to Acme", remedy="call connect first")
        return self._connection

    # Training.

    def validate_config(self, config: TrainingConfig) -> None:
        """Refuse what the platform would ignore: that would cost somebody money, or a result."""
        problems = [Problem(field=name, message=message) for name, message in _objections(config)]
        if problems:
            raise InvalidConfig.from_problems("training config", problems)

    async def submit_job(self, config: TrainingConfig) -> str:
        """Upload the data, then create the job under `config.tag`, once: `find_job` tells what a lost answer was."""
        self.validate_config(config)
        place = Path(config.dataset_path)
        dataset = await asyncio.to_thread(described, place.name, place)
        await self._api.upload(dataset, place)
        return (await self._api.create_job(JobRequest.for_training(config, dataset))).id

    async def find_job(self, tag: str) -> str | None:
        jobs = await self._api.jobs(tag)
        return jobs[0].id if jobs else None

    async def get_job_status(self, job_id: str) -> JobStatus:
        return _status(await self._api.job(job_id))

    async def cancel_job(self, job_id: str) -> bool:
        return _status(await self._api.command_job(job_id, "cancel")).is_terminal

    async def pause_job(self, job_id: str) -> bool:
        return _status(await self._api.command_job(job_id, "pause")) is JobStatus.PAUSED

    async def resume_job(self, job_id: str) -> bool:
        return _status(await self._api.command_job(job_id, "resume")) is not JobStatus.PAUSED

    async def stream_logs(self, job_id: str) -> AsyncGenerator[str]:
        async with aclosing(self._api.log_lines(job_id)) as lines:
            async for line in lines:
                yield line

    async def download_artifact(self, job_id: str, destination: Path) -> Path:
        files = await self._api.job_files(job_id)
        if not files:
            raise ArtifactNotFound(f"job {job_id} has no adapter", why="it has not finished, or did not succeed")
        return await bring_home(files, destination, partial(self._api.download_job_file, job_id))

    async def list_resources(self) -> list[Resource]:
        return [_resource(machine) for machine in await self._api.machines()]

    async def get_pricing(self, resource_id: str) -> PricingInfo:
        machine = await self._api.machine(resource_id)
        return PricingInfo(
            resource_id=machine.id,
            hourly_rate=machine.hourly_price,
            currency=machine.currency,
            billing_increment=machine.billed_seconds,
            as_of=datetime.now(UTC),
            source=f"GET /v1/machines/{machine.id}",
        )

    async def get_metrics(self, job_id: str) -> list[Mapping[str, Any]]:
        rows = await self._api.job_metrics(job_id)
        return [{"step": row.step, **row.values} for row in rows]

    # What lives on the account.

    async def list_rentals(self) -> list[Rental]:
        return [_job_rental(job) for job in await self._api.all_jobs() if not _status(job).is_terminal]

    async def end_rental(self, rental_id: str) -> bool:
        """Only what is on the list is ended, and then the list is asked again."""
        kinds = {rental.id: rental.kind for rental in await self.list_rentals()}
        if kinds.get(rental_id) == "job":
            await self._api.command_job(rental_id, "cancel")
        return rental_id not in {rental.id for rental in await self.list_rentals()}


def _job_rental(job: Job) -> Rental:
    return Rental(
        id=job.id,
        name=job.tag or job.id,
        tag=job.tag,
        kind="job",
        status=job.status,
        hourly_rate=job.hourly_price,
        currency=job.currency,
        created=job.created,
        resource_id=job.machine,
    )


def _objections(config: TrainingConfig) -> Iterator[tuple[str, str]]:
    """Fields of the config, and why the platform cannot honour them."""
    if config.algorithm not in ALGORITHMS:
        yield "algorithm", f"Acme knows {', '.join(ALGORITHMS)}, not {config.algorithm}"
    is_auto_path = config.model_source == "auto" and Path(config.base_model).exists()
    if config.model_source in ("local", "gguf") or is_auto_path:
        yield "base_model", "Acme loads base models from Hugging Face alone"
    if not Path(config.dataset_path).is_file():
        yield "dataset_path", f"there is no file {config.dataset_path}"
    for name in ("max_cost", "max_duration"):
        if getattr(config, name) is not None:
            yield name, f"Acme stops no job by itself, so it cannot keep to {name}"


def _status(job: Job) -> JobStatus:
    if job.status not in STATUSES:
        raise ConnectionFailed(f"job {job.id} has a status that this version does not know", why=job.status)
    return STATUSES[job.status]


def _resource(machine: Machine) -> Resource:
    return Resource(
        id=machine.id,
        name=machine.name,
        gpu_type=machine.gpu,
        gpu_count=machine.gpu_count,
        vram_gb=machine.gpu_memory,
        ram_gb=machine.memory,
        available=machine.available,
        region=machine.region,
    )

"""Hugging Face Jobs as machines that are rented for one training each.

A job can open a port to the world, under an address of its own; that is all that the life of a job on a rented machine
needs, so it is that of every such platform: `peft_studio.rented`. What Jobs cannot do is stand still.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from peft_studio import ConnectionFailed, PlatformConnector, PricingInfo, Resource, TrainingConfig
from peft_studio.rented import Launch, Limits, Machine, Offer, RentedMachineConnector, hub_variables
from peft_studio_huggingface.flavors import named, offers_for
from peft_studio_huggingface.hub_job import job_body, teardown_steps
from peft_studio_huggingface.jobs_api import JobsApi
from peft_studio_huggingface.settings import Settings


class JobsOfHub(RentedMachineConnector):
    """The part of the platform. `_jobs` and `_settings` are there as long as the connector is connected."""

    pause_job = PlatformConnector.pause_job
    resume_job = PlatformConnector.resume_job

    _settings: Settings
    _jobs_api: JobsApi | None = None
    _token = ""

    @property
    def _jobs(self) -> JobsApi:
        if self._jobs_api is None:
            raise ConnectionFailed("not connected to Hugging Face", remedy="call connect first")
        return self._jobs_api

    @property
    def account_secret(self) -> str:
        return self._token

    @property
    def limits(self) -> Limits:
        return self._settings.limits

    async def list_resources(self) -> list[Resource]:
        return [flavor.resource for flavor in await self._jobs.flavors()]

    async def get_pricing(self, resource_id: str) -> PricingInfo:
        return named(await self._jobs.flavors(), resource_id).pricing

    async def list_offers(self, config: TrainingConfig) -> Sequence[Offer]:
        return offers_for(await self._jobs.flavors(), config.resource_id, self._settings)

    async def rent(self, offer: Offer, launch: Launch) -> Machine:
        """POST /api/jobs/{namespace}, once. The Hub refuses nothing for a lack of machines: a job waits."""
        job = await self._jobs.run(job_body(offer, launch, self._settings))
        return job.machine({offer.resource_id: offer.hourly_rate})

    async def get_machine(self, id: str) -> Machine:
        return (await self._jobs.job(id)).machine(await self._rates())

    async def list_machines(self) -> list[Machine]:
        jobs = await self._jobs.alive()
        rates = await self._rates() if jobs else {}
        return [job.machine(rates) for job in jobs]

    async def end_machine(self, id: str) -> None:
        await self._jobs.cancel(id)

    def boot_log(self, id: str) -> AsyncGenerator[str]:
        return self._jobs.log(id)

    def teardown_steps(self) -> Sequence[Mapping[str, Any]]:
        return teardown_steps()

    def worker_variables(self, config: TrainingConfig) -> Mapping[str, str]:
        """What the user chose for the worker."""
        settings = self._settings
        install = settings.worker_install
        chosen = {"PEFT_STUDIO_WORKER_INSTALL": install} if install else {}
        return {**chosen, **hub_variables(config, settings.push_to, settings.job_token)}

    async def get_job_cost(self, job_id: str) -> Decimal | None:
        """Its time, as the Hub counts it, at its price; of a job that is over, too."""
        job = await self._jobs.job(job_id)
        rate = (await self._rates()).get(job.flavor or "")
        return None if rate is None or job.seconds is None else rate * job.seconds / 3600

    async def _rates(self) -> Mapping[str, Decimal | None]:
        return {flavor.id: flavor.hourly_rate for flavor in await self._jobs.flavors()}

"""Acme: POST a config, read its log as events, fetch the files."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from peft_studio import JobStatus, PricingInfo, Resource, TrainingConfig, TrainingConnector, Transport
from peft_studio.artifacts import put_in_place, verify
from peft_studio_acme import __version__


class AcmeConnector(TrainingConnector):
    """Speaks to the platform, or to its sandbox."""

    name = "acme"
    display_name = "Acme"
    description = "Trains adapters, as far as anybody knows"
    version = __version__

    async def connect(self, credentials: Mapping[str, str]) -> bool:
        key = credentials["api_key"]
        address = credentials.get("base_url", "https://api.acme.example")
        self._api = Transport(address, headers={"Authorization": f"Bearer {key}"}, secrets=[key])
        await self._api.get("v1", "jobs")
        return True

    async def disconnect(self) -> bool:
        await self._api.close()
        return True

    def get_required_credentials(self) -> list[str]:
        return ["api_key"]

    async def submit_job(self, config: TrainingConfig) -> str:
        return (await self._api.post("v1", "jobs", json=config.to_dict()))["id"]

    async def get_job_status(self, job_id: str) -> JobStatus:
        return JobStatus((await self._api.get("v1", "jobs", job_id))["status"])

    async def cancel_job(self, job_id: str) -> bool:
        await self._api.post("v1", "jobs", job_id, "cancel")
        return True

    async def stream_logs(self, job_id: str) -> AsyncIterator[str]:
        async for event in self._api.events("v1", "jobs", job_id, "logs"):
            if event.event == "end":
                return
            yield event.data

    async def download_artifact(self, job_id: str, destination: Path) -> Path:
        names = (await self._api.get("v1", "jobs", job_id))["files"]
        with tempfile.TemporaryDirectory(dir=destination.parent) as folder:
            arriving = Path(folder) / "adapter"
            for name in names:
                (arriving / name).parent.mkdir(parents=True, exist_ok=True)
                await self._api.download("v1", "jobs", job_id, "files", *name.split("/"), file=arriving / name)
            verify(arriving)
            put_in_place(arriving, destination)
        return destination

    async def list_resources(self) -> list[Resource]:
        return [Resource(id="anvil", name="Anvil")]

    async def get_pricing(self, resource_id: str) -> PricingInfo:
        return PricingInfo(resource_id=resource_id)

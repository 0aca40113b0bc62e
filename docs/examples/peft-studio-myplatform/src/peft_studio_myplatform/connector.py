"""My Platform, as one class: flags set by hand, the methods of the documented interface, errors that Python has."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from peft_studio import PlatformConnector, PricingInfo, Resource, TrainingConfig

BASE_URL = "https://api.myplatform.example/v1"
#: Seconds without a byte after which the platform is given up.
TIMEOUT = 5


class MyPlatformConnector(PlatformConnector):
    """Runs jobs on My Platform."""

    name = "myplatform"
    display_name = "My Platform"
    description = "Runs fine-tuning jobs on My Platform"
    version = "1.0.0"

    supports_training = True
    supports_inference = True
    supports_registry = False

    def __init__(self) -> None:
        self._base_url = BASE_URL
        self._session: aiohttp.ClientSession | None = None

    async def connect(self, credentials: Mapping[str, str]) -> bool:
        """Ask the platform whether it knows the key."""
        await self.disconnect()
        api_key = credentials.get("api_key")
        if not api_key:
            raise ValueError("an api_key is needed")
        self._base_url = credentials.get("base_url", BASE_URL)
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=aiohttp.ClientTimeout(sock_connect=TIMEOUT, sock_read=TIMEOUT),
        )
        async with self._session.get(f"{self._base_url}/verify") as response:
            if response.status == 401:
                raise ValueError(await response.text())
            if response.status != 200:
                raise ConnectionError(await response.text())
        return True

    async def disconnect(self) -> None:
        """Close the session."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def submit_job(self, config: TrainingConfig) -> str:
        """Start a job; the platform reads the dataset where `dataset_path` says."""
        async with self._connected().post(f"{self._base_url}/jobs", json=config.to_dict()) as response:
            if response.status != 201:
                raise RuntimeError(f"the job was not accepted: {await response.text()}")
            job_id: str = (await response.json())["job_id"]
            return job_id

    async def get_job_status(self, job_id: str) -> str:
        """The platform's word for it: pending, running, completed, failed or cancelled."""
        async with self._connected().get(f"{self._base_url}/jobs/{job_id}") as response:
            if response.status != 200:
                raise RuntimeError(f"the status is not known: {await response.text()}")
            status: str = (await response.json())["status"]
            return status

    async def stream_logs(self, job_id: str) -> AsyncIterator[str]:
        """Lines, as the platform sends them over a websocket; it closes that when the job is over."""
        async with self._connected().ws_connect(f"{self._base_url}/jobs/{job_id}/logs") as websocket:
            async for message in websocket:
                if message.type == aiohttp.WSMsgType.TEXT:
                    yield message.data
        if websocket.close_code != aiohttp.WSCloseCode.OK:
            raise ConnectionError(f"the log broke off with code {websocket.close_code}")

    async def fetch_artifact(self, job_id: str) -> bytes:
        """The adapter, as a tar archive."""
        async with self._connected().get(f"{self._base_url}/jobs/{job_id}/artifact") as response:
            if response.status == 404:
                raise FileNotFoundError(await response.text())
            if response.status != 200:
                raise RuntimeError(f"the artifact cannot be had: {await response.text()}")
            return await response.read()

    async def upload_artifact(self, path: str, metadata: Mapping[str, Any]) -> str:
        """Keep a file on the platform."""
        form = aiohttp.FormData()
        form.add_field("metadata", json.dumps(metadata), content_type="application/json")
        form.add_field("file", Path(path).read_bytes(), filename=Path(path).name)
        async with self._connected().post(f"{self._base_url}/artifacts", data=form) as response:
            if response.status != 201:
                raise RuntimeError(f"the artifact was not accepted: {await response.text()}")
            artifact_id: str = (await response.json())["artifact_id"]
            return artifact_id

    async def list_resources(self) -> list[Resource]:
        """What the platform has."""
        async with self._connected().get(f"{self._base_url}/resources") as response:
            if response.status != 200:
                raise RuntimeError(f"the resources are not known: {await response.text()}")
            return [
                Resource(
                    id=each["id"],
                    name=each["name"],
                    gpu_type=each["gpu_type"],
                    gpu_count=each["gpu_count"],
                    vram_gb=each["vram_gb"],
                    available=each["available"],
                )
                for each in (await response.json())["resources"]
            ]

    async def get_pricing(self, resource_id: str) -> PricingInfo:
        """What an hour costs."""
        async with self._connected().get(f"{self._base_url}/resources/{resource_id}/pricing") as response:
            if response.status != 200:
                raise RuntimeError(f"the price is not known: {await response.text()}")
            price = await response.json()
            return PricingInfo(
                hourly_rate=price["hourly_rate"],
                currency=price["currency"],
                billing_increment=price["billing_increment"],
            )

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise ConnectionError("not connected")
        return self._session

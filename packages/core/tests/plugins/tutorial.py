"""The tutorial's connector, with its platform in memory, and ways to spoil it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from peft_studio import (
    ConnectorManager,
    ConnectorRegistry,
    PeftStudioError,
    PlatformConnector,
    PricingInfo,
    Resource,
    TrainingConfig,
)

CONFIG = TrainingConfig(
    base_model="test-model",
    algorithm="lora",
    rank=8,
    alpha=16,
    learning_rate=2e-4,
    batch_size=4,
    num_epochs=3,
    dataset_path="/path/to/dataset",
)
KEY = {"api_key": "your-key"}
LABEL = "myplatform (1.0.0)"


class MyPlatformConnector(PlatformConnector):
    """The tutorial's connector, with its platform in memory."""

    name = "myplatform"
    display_name = "My Platform"
    description = "Runs jobs on my platform"
    version = "1.0.0"
    supports_training = True
    supports_inference = True
    supports_registry = False

    def __init__(self) -> None:
        self.calls: list[Any] = []

    async def connect(self, credentials):
        self.calls.append(("connect", dict(credentials)))
        return credentials["api_key"] == "your-key"

    async def disconnect(self) -> None:
        self.calls.append("disconnect")

    async def submit_job(self, config) -> str:
        self.calls.append(config)
        return "job-1"

    async def get_job_status(self, job_id) -> str:
        return "running"

    async def stream_logs(self, job_id):
        yield "first"
        yield "second"

    async def fetch_artifact(self, job_id) -> bytes:
        return b"adapter"

    async def upload_artifact(self, path, metadata) -> str:
        return f"stored {path} {metadata}"

    async def list_resources(self):
        return [Resource(id="a", name="A", gpu_type="A100", gpu_count=1, vram_gb=80, available=True)]

    async def get_pricing(self, resource_id):
        return PricingInfo(hourly_rate=1.5, currency="USD", billing_increment=60)


def manager_of(connector: type[PlatformConnector] = MyPlatformConnector, **options: Any) -> ConnectorManager:
    """A manager that knows one connector and no installed one."""
    return ConnectorManager(ConnectorRegistry([], extra=[connector]), **{"ledger": False, **options})


def having(**members: Any) -> type[MyPlatformConnector]:
    """The tutorial's class with members replaced."""
    return type("Changed", (MyPlatformConnector,), members)


def raising(error: BaseException) -> Callable[..., Any]:
    """A method that fails with `error`, whatever it is asked."""

    async def method(self, **arguments):
        raise error

    return method


def answering(value: Any) -> Callable[..., Any]:
    """A method that answers `value`."""

    async def method(self, **arguments):
        return value

    return method


async def failure(connector: type[PlatformConnector], method: str, *arguments: Any) -> PeftStudioError:
    """The error of one call on a connected manager."""
    async with manager_of(connector) as manager:
        await manager.connect("myplatform", KEY)
        with pytest.raises(PeftStudioError) as caught:
            await getattr(manager, method)("myplatform", *arguments)
    return caught.value

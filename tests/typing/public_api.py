"""How users and plugin authors write against the public interface; mypy checks it, nothing runs it."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import assert_type

from peft_studio import ConnectorManager, JobStatus, PricingInfo, Resource, TrainingConfig, TrainingConnector, hookimpl


def a_config_from_the_documentation() -> TrainingConfig:
    """The documented call."""
    return TrainingConfig(
        base_model="test-model",
        algorithm="lora",
        rank=8,
        alpha=16,
        learning_rate=2e-4,
        batch_size=4,
        num_epochs=3,
        dataset_path="/path/to/dataset",
    )


class SmallestConnector(TrainingConnector):
    """Every required method with its documented signature, and no more."""

    name = "smallest"
    display_name = "Smallest"
    description = "The least that runs jobs"
    version = "1.0"

    async def connect(self, credentials: Mapping[str, str]) -> bool:
        return bool(credentials["api_key"])

    async def disconnect(self) -> None:
        return None

    async def submit_job(self, config: TrainingConfig) -> str:
        return config.base_model

    async def get_job_status(self, job_id: str) -> JobStatus:
        return JobStatus.COMPLETED

    async def cancel_job(self, job_id: str) -> bool:
        return True

    async def stream_logs(self, job_id: str) -> AsyncIterator[str]:
        yield job_id

    async def download_artifact(self, job_id: str, destination: Path) -> Path:
        return destination / job_id

    async def list_resources(self) -> list[Resource]:
        return []

    async def get_pricing(self, resource_id: str) -> PricingInfo:
        return PricingInfo(resource_id=resource_id)


@hookimpl
def peft_studio_connector() -> type[SmallestConnector]:
    """What a plugin module holds."""
    return SmallestConnector


async def a_status_is_a_text(connector: SmallestConnector) -> bool:
    """Statuses compare with the documented strings."""
    status = assert_type(await connector.get_job_status("job"), JobStatus)
    return status in ["completed", "failed"]


async def a_job_from_the_documentation(training_config: TrainingConfig) -> str:
    """The documented calls, in their order."""
    manager = ConnectorManager()
    manager.discover_connectors()
    await manager.connect("myplatform", {"api_key": "your-key"})
    job_id = assert_type(await manager.submit_job("myplatform", training_config), str)
    assert_type(await manager.get_job_status("myplatform", job_id), JobStatus)
    assert_type(await manager.list_resources("myplatform"), list[Resource])
    return job_id


async def logs_are_iterated(manager: ConnectorManager, job_id: str) -> None:
    """No await before the loop."""
    async for line in manager.stream_logs("myplatform", job_id):
        assert_type(line, str)

"""How a program embeds the manager, async and sync; mypy checks it, nothing runs it."""

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any, assert_type

from peft_studio import (
    ConnectorManager,
    Deployment,
    JobEvent,
    JobStatus,
    ModelInfo,
    PlatformConnector,
    Resource,
    SyncConnectorManager,
    TrainingConfig,
)
from peft_studio.ledger import JobRecord


def a_manager_with_all_that_it_takes(mine: type[PlatformConnector], plugin: object) -> SyncConnectorManager:
    """The facade takes what the manager takes."""
    credentials = {"mine": {"api_key": "k"}}
    ConnectorManager(connectors=[mine], discover=False, plugins=[plugin], credentials=credentials, ledger=False)
    return SyncConnectorManager(
        connectors=[mine], discover=False, plugins=[plugin], credentials=credentials, ledger=False
    )


async def the_whole_interface(manager: ConnectorManager) -> None:
    """Answers have the types of the models."""
    assert_type(await manager.search_models("hub", "llama"), list[ModelInfo])
    assert_type(await manager.list_deployments("hub"), list[Deployment])
    assert_type(await manager.deploy_model("hub", "model", gpu="A10G"), str)
    assert_type(await manager.jobs.get("job"), JobRecord)


def a_script(manager: SyncConnectorManager, config: TrainingConfig) -> None:
    """Submit, follow, pull; nothing is awaited, and streams are plain generators."""
    with manager as opened:
        assert_type(opened, SyncConnectorManager)
        job = assert_type(opened.jobs.submit("local", config), JobRecord)
        assert_type(opened.jobs.follow(job.id), Generator[JobEvent, None, None])
        assert_type(opened.jobs.pull(job.id, "adapter"), Path)
        assert_type(opened.jobs.metrics(job.id), list[Mapping[str, Any]])
        assert_type(opened.get_job_status("local", job.id), JobStatus)
        assert_type(opened.list_resources("local"), list[Resource])
        assert_type(opened.find_job("local", "tag"), str | None)
        for line in opened.stream_logs("local", job.id):
            assert_type(line, str)

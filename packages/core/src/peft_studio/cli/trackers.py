"""What commands do for trackers: check their names before anything is rented, and keep them up to date."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING

import attrs
import click

from peft_studio.errors import InvalidConfig
from peft_studio.training_config import TrainingConfig

if TYPE_CHECKING:
    from peft_studio.cli.desk import Desk
    from peft_studio.ledger import JobRecord
    from peft_studio.manager import ConnectorManager
    from peft_studio.registry import ConnectorRegistry


def tracked_by(config: TrainingConfig, names: tuple[str, ...]) -> TrainingConfig:
    """The config with trackers of the command line beside its own. Raises for one that cannot track."""
    trackers = tuple(dict.fromkeys([*config.experiment_tracker, *names]))
    if not trackers:
        return config
    from peft_studio.registry import ConnectorRegistry

    registry = ConnectorRegistry()
    for name in trackers:
        require_tracker(registry, name)
    return attrs.evolve(config, experiment_tracker=trackers)


def require_tracker(registry: ConnectorRegistry, name: str) -> None:
    """Raises `InvalidConfig` for a connector that records no runs, and `ConnectorNotFound`; imports no connector."""
    manifest = registry.describe(name).manifest
    if manifest is not None and not manifest.features.tracking:
        remedy = "list those that do: peft-studio connectors list --feature tracking"
        raise InvalidConfig(f"{name} does not record runs", remedy=remedy)


def accompanied(desk: Desk, manager: ConnectorManager, job: JobRecord) -> AbstractAsyncContextManager[None]:
    """Meanwhile the trackers of a job are kept up to date; not for one that ends with this command."""
    if desk.is_throwaway or not job.config.get("experiment_tracker"):
        return nullcontext()
    from peft_studio.tracking.companion import tracked

    return tracked(manager, desk.ledger, job, lambda line: click.echo(line, err=True))

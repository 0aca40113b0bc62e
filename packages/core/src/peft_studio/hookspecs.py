"""The plugin API: what a plugin module may implement. A hook delivers, a class behaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Sequence

    import click

    from peft_studio.connector import PlatformConnector
    from peft_studio.models import JobEvent, Problem
    from peft_studio.training_config import TrainingConfig

PROJECT_NAME = "peft_studio"

hookspec = pluggy.HookspecMarker(PROJECT_NAME)
hookimpl = pluggy.HookimplMarker(PROJECT_NAME)


@hookspec
def peft_studio_connector() -> type[PlatformConnector]:  # type: ignore[empty-body]  # a specification has no body
    """Return the connector class. Called for exactly the one plugin that is being activated."""


@hookspec
def peft_studio_review_job(connector: str, config: TrainingConfig) -> Sequence[Problem] | None:
    """Policy: any problem returned stops the submission; those of all plugins are shown."""


@hookspec
def peft_studio_job_event(connector: str, event: JobEvent) -> None:
    """Observe a job. A failure is collected, never raised."""


@hookspec(firstresult=True)
def peft_studio_credential(connector: str, field: str) -> str | None:
    """A vault: the value of one credential field, or None to let the next source answer."""


@hookspec
def peft_studio_cli(group: click.Group) -> None:
    """Add commands. Called when a command is used that the plugin's connector.json lists under "commands"."""

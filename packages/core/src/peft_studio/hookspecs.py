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
    """Deliver the connector class.

    Called for exactly one plugin, once: when its connector is first named. A function that imports the class only now
    keeps the plugin module light.
    """


@hookspec
def peft_studio_review_job(connector: str, config: TrainingConfig) -> Sequence[Problem] | None:
    """Say what speaks against submitting this job; an empty answer, or None, agrees.

    Called before a job is submitted, and by `run --dry-run`, for every plugin that lists the hook, whatever the
    connector. Any problem stops the submission, and those of all plugins are shown together. A plugin that fails or is
    broken stops it too: a policy that is silent has not agreed.
    """


@hookspec
def peft_studio_job_event(connector: str, event: JobEvent) -> None:
    """Take note of one event of a job.

    Called for every plugin that lists the hook, with each event of a job that is being followed, in order. A failure is
    kept in `ConnectorManager.hook_failures` and stops nothing.
    """


@hookspec(firstresult=True)
def peft_studio_credential(connector: str, field: str) -> str | None:
    """Lend the value of one credential field; None when this vault has none.

    Called for each field under "credentials" in connector.json that neither the caller nor the environment has. A
    failure is kept in `ConnectorManager.hook_failures`, and the next plugin is asked.
    """


@hookspec
def peft_studio_cli(group: click.Group) -> None:
    """Add commands to `group`.

    Called for one plugin, when a command is used that its connector.json lists under "commands". The help is written
    from that list, and imports nothing.
    """

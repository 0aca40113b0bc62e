"""Hooks of the local connector."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peft_studio.hookspecs import hookimpl

if TYPE_CHECKING:
    import click

    from peft_studio_local.connector import LocalConnector


@hookimpl
def peft_studio_connector() -> type[LocalConnector]:
    """Deliver the connector."""
    from peft_studio_local.connector import LocalConnector

    return LocalConnector


@hookimpl
def peft_studio_cli(group: click.Group) -> None:
    """Add `demo` and `chat`."""
    from peft_studio_local.commands import chat, demo

    group.add_command(demo)
    group.add_command(chat)

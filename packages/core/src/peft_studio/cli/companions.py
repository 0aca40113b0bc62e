"""Trackers and registries of a job: whether they know the user is asked before anything is rented."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import click

from peft_studio.errors import ConnectionFailed
from peft_studio.model_address import ModelAddress
from peft_studio.training_config import TrainingConfig

if TYPE_CHECKING:
    from peft_studio.manager import ConnectorManager

#: Seconds that one may take; the job does not wait for it any longer.
PATIENCE: Final = 5.0


async def introduce(manager: ConnectorManager, config: TrainingConfig) -> None:
    """Connect to each. One that refuses the credentials stops the job; one that is away does not: its part waits."""
    registries = [ModelAddress.parse(text).connector for text in config.push_to]
    names = list(dict.fromkeys([*config.experiment_tracker, *registries]))
    for name, answer in zip(names, await asyncio.gather(*(_ask(manager, name) for name in names)), strict=True):
        if answer is not None:
            click.echo(f"{name} cannot be reached now ({answer}): what is for it will wait in the queue", err=True)


async def _ask(manager: ConnectorManager, name: str) -> str | None:
    """Why it cannot be reached; None when it can."""
    try:
        async with asyncio.timeout(PATIENCE):
            await manager.connect(name)
    except ConnectionFailed as error:
        return error.what
    except TimeoutError:
        return f"no answer within {PATIENCE:g} s"
    return None

"""What commands do for registries: check their names before anything is rented, and publish when the job is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from peft_studio.cli.waiting import waited_for
from peft_studio.queue import Operation, Queue, State
from peft_studio.training_config import TrainingConfig

if TYPE_CHECKING:
    from peft_studio.cli.desk import Desk
    from peft_studio.ledger import JobRecord
    from peft_studio.manager import ConnectorManager

#: Exit code when the job is done and a registry has refused its adapter for good.
PUSH_REFUSED: Final = 6


def pushed_to(config: TrainingConfig, addresses: tuple[str, ...]) -> TrainingConfig:
    """The config with registries of the command line beside its own. Raises for one that keeps no models."""
    wanted = tuple(dict.fromkeys([*config.push_to, *addresses]))
    if not wanted:
        return config
    from peft_studio.cli.registries import address_of

    for address in wanted:
        address_of(address)
    return attrs.evolve(config, push_to=wanted)


async def published(desk: Desk, manager: ConnectorManager, job: JobRecord) -> list[Operation]:
    """Send the adapter of a completed job to where its config says, as far as that goes now; how each stands."""
    if desk.is_throwaway or not job.config.get("push_to"):
        return []
    from peft_studio.publishing.publisher import Publisher
    from peft_studio.queue.drain import Drainer

    with Queue() as queue:
        pushes = await Publisher(manager, desk.ledger, queue).publish(job.id)
        drainer = Drainer(queue, manager, desk.ledger)
        for push in pushes:
            if push.state is State.WAITING:
                click.echo(f"pushing to {_address(push)}…", err=True)
                await waited_for(drainer.drain([push.connector], only=push.number), "pushing")
        return [queue.operation(push.number) for push in pushes]


def push_summary(push: Operation) -> dict[str, Any]:
    """An upload in JSON."""
    return {"to": _address(push), "id": push.result, "state": push.state, "reason": push.reason}


def tell_pushes(pushes: Sequence[Operation], *, err: bool = False) -> None:
    """Where the adapter went, on stdout unless told otherwise; and where not."""
    for push in pushes:
        address = _address(push)
        if push.state is State.DONE:
            click.echo(f"pushed: {push.connector}:{push.result}", err=err)
        elif push.state is State.DEAD:
            click.echo(f"{click.style('Error:', fg='red')} {address} has refused it: {push.reason}", err=True)
            click.echo(f"  try: peft-studio queue retry {push.number}", err=True)
        else:
            why = f": {push.reason}" if push.reason else ""
            click.echo(f"{address}: waiting in the queue{why}", err=True)
            click.echo(f"  send it: peft-studio queue flush {push.connector}", err=True)


def _address(push: Operation) -> str:
    """Its key tells, which is kept when it is done."""
    return f"{push.connector}:{push.key.split(':', 2)[2]}"

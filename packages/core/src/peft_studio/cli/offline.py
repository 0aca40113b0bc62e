"""What other commands have to do with the offline queue: put something into it, and take a little out of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from random import random
from threading import Thread
from typing import TYPE_CHECKING, Any

import click

from peft_studio.cli.output import print_json
from peft_studio.errors import PeftStudioError
from peft_studio.ledger import Ledger
from peft_studio.queue import Queue, State
from peft_studio.queue.limits import Limits
from peft_studio.training_config import TrainingConfig

if TYPE_CHECKING:
    from peft_studio.queue.kinds import Kind

#: Seconds that a command may be kept for the queue's sake; the first part of them for the work itself.
BUDGET, WORK = 1.0, 0.8


def limits_of(max_price_change: str | None, max_age: str | None) -> Limits | None:
    """Limits given on the command line, over those in settings.toml; None when there are none."""
    given = {"max_price_change": max_price_change, "max_age": max_age}
    chosen = {name: value for name, value in given.items() if value is not None}
    return Limits.from_settings().changed(chosen, "--") if chosen else None


def queue_run(connector: str, config: TrainingConfig, limits: Limits | None, *, as_json: bool) -> int:
    """Queue a submission without asking any platform."""
    from peft_studio.artifacts import require_empty
    from peft_studio.queue.deferred import queue_submission
    from peft_studio.registry import ConnectorRegistry

    ConnectorRegistry().describe(connector)
    if config.output_path is not None:
        require_empty(config.output_path)
    with Ledger() as ledger, Queue() as queue:
        operation = queue_submission(queue, ledger, connector, config, limits)
        job = ledger.job(operation.payload["tag"])
    if as_json:
        print_json({"id": job.id, "connector": connector, "status": job.status, "operation": operation.number})
    else:
        click.echo(job.id)
        click.echo(f"queued as operation {operation.number}; submit it: peft-studio queue flush", err=True)
    return 0


def drain_briefly() -> None:
    """Do what is due and may be cut short, within the budget; say what waits for more than that.

    The thread is left behind when it takes longer, and ends with the command: the queue survives that at any moment.
    """
    from peft_studio.queue.backoff import backoff
    from peft_studio.queue.kinds import KINDS

    brief = {name: kind for name, kind in KINDS.items() if kind.is_brief}
    with Queue() as queue:
        due = queue.due(brief)
        if due:
            thread = Thread(target=lambda: asyncio.run(_drain(brief, due)), daemon=True)
            thread.start()
            thread.join(BUDGET)
            for name in set(due).intersection(queue.due(brief)):  # the next command does not wait for it again
                queue.pause(name, lambda failures: backoff(failures, random), f"no answer within {BUDGET} s")
        long = KINDS.keys() - brief.keys()
        left = [each for each in queue.operations(State.WAITING) if each.kind in long] if queue.due(long) else []
    if left:
        noun = "operation waits" if len(left) == 1 else "operations wait"
        click.echo(f"{len(left)} {noun} in the queue: peft-studio queue flush", err=True)


async def _drain(kinds: Mapping[str, Kind], due: list[str]) -> None:
    from peft_studio.cli.desk import Desk
    from peft_studio.queue.drain import Drainer

    asyncio.get_running_loop().set_default_executor(_DaemonThreads())
    with Ledger() as ledger, Queue() as queue:
        manager = Desk(ledger).manager()
        with suppress(TimeoutError):
            async with asyncio.timeout(WORK):
                await Drainer(queue, manager, ledger, kinds=kinds).drain(due)
        with suppress(TimeoutError, PeftStudioError):
            async with asyncio.timeout(BUDGET - WORK):
                await manager.disconnect_all()


class _DaemonThreads(ThreadPoolExecutor):
    """Runs each call in a thread that no exit waits for; a pool's own threads are waited for."""

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def work() -> None:
            try:
                future.set_result(function(*arguments, **named))
            except BaseException as error:  # noqa: BLE001 -- handed to whoever waits for the call
                future.set_exception(error)

        Thread(target=work, daemon=True).start()
        return future

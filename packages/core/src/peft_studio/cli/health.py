"""`peft-studio health`: which platforms answer, know us, and how quickly."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterable, Sequence

import click

from peft_studio.cli import INTERRUPTED
from peft_studio.cli.health_view import open_view, sentences, table
from peft_studio.cli.output import json_option, print_json, print_table
from peft_studio.health import Condition, Health, HealthMonitor
from peft_studio.health.prober import Prober
from peft_studio.registry import ConnectorRegistry

#: What each condition ends the command with; of several the first in this order.
EXIT_CODES = {
    Condition.UNREACHABLE: 5,
    Condition.NO_ANSWER: 5,
    Condition.UNAUTHORIZED: 4,
    Condition.NOT_SET_UP: 4,
    Condition.REFUSED: 6,
    Condition.BROKEN: 10,
    Condition.NOT_ASKED: 1,
}


def _complete(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names for the shell's completion."""
    return [record.name for record in ConnectorRegistry().list() if record.name.startswith(incomplete)]


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=_complete)
@click.option("--watch", "is_watch", is_flag=True, help="Go on asking until Ctrl-C, and tell what changes.")
@click.option(
    "--interval", metavar="S", default=15.0, show_default=True, help="With --watch, seconds between two questions."
)
@click.option("--timeout", metavar="S", default=10.0, show_default=True, help="Seconds for each connector.")
@json_option
def health(names: tuple[str, ...], is_watch: bool, interval: float, timeout: float, as_json: bool) -> int:
    """Ask platforms whether they are there and know us: NAMEs, or all that are installed.

    They are asked at once, and one that hangs delays no other. Nothing is created and nothing costs.
    """
    asked: HealthMonitor | Prober
    if is_watch:
        asked = monitor = HealthMonitor(names or None, interval=interval, time_limit=timeout)
        work = _watch(monitor, as_json=as_json)
    else:
        asked = prober = Prober(ConnectorRegistry(), {}, timeout)
        work = _ask(prober, names, as_json=as_json)
    try:
        code = asyncio.run(work)
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        code = INTERRUPTED
    if asked.is_stuck:
        _leave(code)
    return code


async def _ask(prober: Prober, names: Sequence[str], *, as_json: bool) -> int:
    """Each once. What was not set up is only told, unless it was asked for by name."""
    chosen = prober.choose(names or None)
    found = await asyncio.gather(*(prober.ask(name) for name in chosen))
    await prober.farewell()
    code = exit_code(each for each in found if names or each.condition is not Condition.NOT_SET_UP)
    if as_json:
        print_json({"ok": code == 0, "connectors": [each.to_dict() for each in found]})
    elif not found:
        click.echo("there is no connector to ask; see: peft-studio connectors list", err=True)
    else:
        print_table(*table(found))
        for line in sentences(found):
            click.echo(line)
    return code


async def _watch(monitor: HealthMonitor, *, as_json: bool) -> int:
    async with monitor:
        with open_view(monitor, as_json=as_json) as view:
            async for change in monitor.changes():
                view.show(change)
    return 0


def exit_code(found: Iterable[Health]) -> int:
    """0 when all are healthy."""
    conditions = {each.condition for each in found}
    return next((code for condition, code in EXIT_CODES.items() if condition in conditions), 0)


def _leave(code: int) -> None:
    """End although a connector hangs: a thread that it has started would keep the process for ever."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

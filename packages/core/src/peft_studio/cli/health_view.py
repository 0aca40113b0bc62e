"""How health is shown: a table, sentences about what is wrong, and while it is watched a live table or lines."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, Self

import click

from peft_studio.cli.output import print_json_line, stamp
from peft_studio.health import Condition, Health, HealthMonitor
from peft_studio.lines import short_duration
from peft_studio.models import RateLimit

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

HEADINGS = ("NAME", "CONDITION", "REACHABLE", "AUTHENTICATED", "LATENCY", "LIMIT LEFT", "CLOCK")
_COLOURS = {
    Condition.HEALTHY: "green",
    Condition.NOT_SET_UP: "yellow",
    Condition.REFUSED: "yellow",
    Condition.NOT_ASKED: "yellow",
}


def table(found: Sequence[Health]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Headings and rows."""
    return HEADINGS, [_row(each, click.style(each.condition, fg=_colour(each))) for each in found]


def sentences(found: Sequence[Health]) -> Iterator[str]:
    """The error of each connector that has one, and what to do."""
    for each in found:
        if each.last_error is not None:
            yield _error(each)
            if each.remedy is not None:
                yield f"  try: {each.remedy}"


class View(Protocol):
    """Shows changes as they come."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, health: Health) -> None:
        """Show one change."""


def open_view(monitor: HealthMonitor, *, as_json: bool) -> View:
    """The live table on a terminal, where rich is installed; else lines."""
    if as_json or not sys.stdout.isatty():
        return LineView(as_json=as_json)
    try:
        import rich  # noqa: F401 -- asked for here, used by LiveView
    except ModuleNotFoundError:
        click.echo("for a live view: pip install 'peft-studio[live]'", err=True)
        return LineView(as_json=False)
    return LiveView(monitor)


class LineView:
    """One line for each change."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, health: Health) -> None:
        """Print the line."""
        if self._as_json:
            print_json_line(health.to_dict())
            return
        told = f"{health.name}  {_latency(health)}" if health.is_healthy else _error(health)
        condition = click.style(f"{health.condition:12}", fg=_colour(health))
        click.echo(f"{stamp(health.at)}  {condition}  {told}")


class LiveView:
    """A table of all connectors, redrawn in place as answers come in."""

    def __init__(self, monitor: HealthMonitor, console: Console | None = None) -> None:
        from rich.live import Live

        self._monitor = monitor
        self._live = Live(console=console, get_renderable=self.picture, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, health: Health) -> None:
        """Draw at once; what is no change is drawn four times a second."""
        self._live.refresh()

    def picture(self) -> RenderableType:
        """Everything as it is now."""
        from rich.table import Table
        from rich.text import Text

        grid = Table(box=None, header_style="dim", pad_edge=False)
        for heading in (*HEADINGS, "ASKED", "LAST ERROR"):
            grid.add_column(heading, no_wrap=heading != "LAST ERROR")
        for name in self._monitor.names:
            health = self._monitor.status(name)
            if health is None:
                grid.add_row(name, Text("asking…", style="dim"))
                continue
            asked = short_duration((datetime.now(UTC) - health.at).total_seconds())
            cells = (*_row(health, health.condition), f"{asked} ago", health.last_error or "")
            styles = {1: _colour(health), len(cells) - 1: "dim" if health.is_healthy else ""}
            grid.add_row(*(Text(cell, style=styles.get(number, "")) for number, cell in enumerate(cells)))
        return grid


def _row(health: Health, condition: str) -> tuple[str, ...]:
    reachable, authenticated = _word(health.is_reachable), _word(health.is_authenticated)
    left, clock = _left(health.rate_limit), _clock(health.clock_skew)
    return health.name, condition, reachable, authenticated, _latency(health), left, clock


def _colour(health: Health) -> str:
    return _COLOURS.get(health.condition, "red")


def _word(answer: bool | None) -> str:
    return "-" if answer is None else "yes" if answer else "no"


def _latency(health: Health) -> str:
    return "-" if health.latency is None else f"{health.latency * 1000:.0f} ms"


def _left(limit: RateLimit | None) -> str:
    if limit is None:
        return "-"
    return f"{limit.remaining}" if limit.limit is None else f"{limit.remaining} of {limit.limit}"


def _clock(skew: float | None) -> str:
    return "-" if skew is None else "in step" if skew == 0 else f"{skew:+.0f} s"


def _error(health: Health) -> str:
    """The error, which names the connector, and since when nobody has answered."""
    sentence = health.last_error or ""
    named = sentence if sentence.startswith(health.name) else f"{health.name}: {sentence}"
    since = health.unreachable_since
    return named if since is None else f"{named} (no answer since {stamp(since)})"

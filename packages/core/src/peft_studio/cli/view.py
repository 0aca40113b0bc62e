"""Watching a job: a live picture on a terminal, plain lines anywhere else."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Protocol, Self

import click

from peft_studio.ledger import JobRecord
from peft_studio.lines import LineWriter, short_duration, sparkline
from peft_studio.models import JobEvent

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


class View(Protocol):
    """Shows events as they come."""

    last_sequence: int

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, event: JobEvent) -> None:
        """Show one event."""


def open_view(job: JobRecord, *, quiet: bool = False) -> View:
    """The live view on a terminal, where rich is installed; else lines. `quiet` keeps stdout free for a result."""
    if quiet or not sys.stdout.isatty():
        return LineView(to_stderr=quiet)
    try:
        import rich  # noqa: F401 -- asked for here, used by LiveView
    except ModuleNotFoundError:
        click.echo("for a live view: pip install 'peft-studio[live]'", err=True)
        return LineView()
    return LiveView(job)


class LineView:
    """One plain line per event."""

    def __init__(self, *, to_stderr: bool = False) -> None:
        self.last_sequence = 0
        self._lines = LineWriter()
        self._to_stderr = to_stderr

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def show(self, event: JobEvent) -> None:
        """Print the event's line, if it has one."""
        self.last_sequence = max(self.last_sequence, event.sequence)
        line = self._lines.line(event)
        if line is not None:
            click.echo(line, err=self._to_stderr)


class LiveView:
    """Step, loss with a sparkline, tokens per second and time left, redrawn in place."""

    def __init__(self, job: JobRecord, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self.last_sequence = 0
        self._job = job
        self._lines = LineWriter()
        self._losses: list[float] = []
        self._validation: float | None = None
        self._step: dict[str, Any] = {}
        self._total_steps = 0
        self._doing = "waiting for the first word"
        self._console = console or Console()
        self._live = Live(console=self._console, get_renderable=self.picture, refresh_per_second=8)

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, event: JobEvent) -> None:
        """Take the event in; the picture is redrawn eight times a second."""
        line = self.take_in(event)
        if event.type == "start":
            self._console.print(line, style="dim", highlight=False)
        elif event.type == "log" and event.data["level"] != "info":
            self._console.print(line, style="yellow", highlight=False)

    def take_in(self, event: JobEvent) -> str | None:
        """Remember what the picture needs; returns the event as a line."""
        self.last_sequence = max(self.last_sequence, event.sequence)
        line = self._lines.line(event)
        match event.type:
            case "log" if event.data.get("source") == "platform":
                self._doing = line or ""
            case "step":
                self._step = dict(event.data)
                self._losses.append(event.data["loss"])
            case "eval":
                self._validation = event.data["loss"]
            case "start":
                self._total_steps = event.data["total_steps"]
            case "phase" | "state":
                self._doing = line or ""
        return line

    def picture(self) -> RenderableType:
        """The job as it is now."""
        from rich.panel import Panel
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        grid = Table.grid(padding=(0, 2), expand=True)
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(ratio=1)
        grid.add_row("model", f"{_short(self._job.base_model)} [dim]on {self._job.connector}[/]")
        if self._step:
            done, total = self._step["step"], self._total_steps or None
            left = self._step.get("seconds_left")
            time_left = "" if left is None else f"  [dim]{short_duration(left)} left[/]"
            grid.add_row("step", f"[bold]{done}[/]{f'/{total}' if total else ''}{time_left}")
            grid.add_row("", ProgressBar(total=total, completed=done))
            grid.add_row("loss", f"[bold]{self._step['loss']:.4f}[/]  [cyan]{sparkline(self._losses, 40)}[/]")
            if self._validation is not None:
                grid.add_row("validation", f"{self._validation:.4f}")
            grid.add_row("speed", f"{self._step['tokens_per_second']:.0f} tokens/s")
        grid.add_row("now", self._doing)
        return Panel(grid, title=f"[bold]{self._job.id}[/]", title_align="left", border_style="cyan")


def _short(model: str) -> str:
    """A path's last part; a hub id as it is."""
    return model.rstrip("/").rpartition("/")[2] if model.startswith(("/", ".")) else model

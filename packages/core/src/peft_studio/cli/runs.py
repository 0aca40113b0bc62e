"""`peft-studio runs`: what a tracker has recorded, whoever wrote it: lists, single runs, and runs side by side."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from peft_studio.cli.output import json_option, print_json, print_table
from peft_studio.errors import InvalidConfig
from peft_studio.models import JobStatus

if TYPE_CHECKING:
    from peft_studio.models import Run
    from peft_studio.tracking.curves import Curve
    from peft_studio.tracking.runs import TrackedRuns

Result = TypeVar("Result")
#: Runs, each with its curves by metric.
Measured = Sequence[tuple["Run", Mapping[str, "Curve"]]]


def _complete_tracker(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of trackers for the shell's completion."""
    from peft_studio.registry import ConnectorRegistry

    trackers = ConnectorRegistry().by_feature("tracking")
    return [record.name for record in trackers if record.name.startswith(incomplete)]


name_argument = click.argument("name", shell_complete=_complete_tracker)
plot_option = click.option("--plot", metavar="FILE.png", type=click.Path(path_type=Path), help="Draw the curves.")


@click.group()
def runs() -> None:
    """List, show and compare the runs that a tracker has.

    NAME is the connector of a tracker. RUN is the tracker's id of a run, its name, or the id of its job.
    """


@runs.command("list")
@name_argument
@click.option("--project", metavar="P", help="Only runs of this project; all of them unless given.")
@click.option("--status", type=click.Choice([str(status) for status in JobStatus]), help="Only runs that stand so.")
@click.option("--search", metavar="TEXT", help="Only runs whose name or id has this text.")
@click.option("--limit", metavar="N", type=click.IntRange(min=1), default=20, show_default=True, help="The newest N.")
@json_option
def list_runs(
    name: str, project: str | None, status: str | None, search: str | None, limit: int, as_json: bool
) -> None:
    """Runs, newest first."""
    from peft_studio.cli.runs_view import list_table, listed

    wanted = {"project": project, "status": None if status is None else JobStatus(status), "search": search}

    async def ask(tracked: TrackedRuns) -> list[Run]:
        return await tracked.manager.list_runs(name, **wanted, limit=limit)  # type: ignore[arg-type]  # as named above

    found = _with_runs(name, ask, what=f"listing the runs of {name}")
    if as_json:
        print_json([listed(run) for run in found])
    elif not found:
        click.echo(f"{name} has no such runs" if any(wanted.values()) else f"{name} has no runs yet", err=True)
    else:
        print_table(*list_table(found))
        if len(found) == limit:
            click.echo(f"the newest {limit}; more of them with --limit", err=True)


@runs.command()
@name_argument
@click.argument("run")
@plot_option
@json_option
def show(name: str, run: str, plot: Path | None, as_json: bool) -> None:
    """A run's config, its summary and its metrics."""
    from peft_studio.cli.runs_view import details, metric_table, plain, summary_lines
    from peft_studio.tracking.curves import curves_of

    async def ask(tracked: TrackedRuns) -> tuple[Run, Any, int]:
        found = await tracked.find(run)
        rows = await tracked.manager.get_metrics(name, found.id)
        job = tracked.job(run)
        return found, rows, 0 if job is None else tracked.waiting().get(job.id, 0)

    found, rows, waiting = _with_runs(name, ask, what=f"reading run {run}")
    curves = curves_of(rows)
    if plot is not None:
        _draw_loss(found, curves, plot)
    if as_json:
        print_json({**details(found), "waiting_rows": waiting, "metrics": plain(rows)})
        return
    for line in summary_lines(found):
        click.echo(line)
    if curves:
        click.echo()
        print_table(*metric_table(curves))
    else:
        click.echo(f"run {found.name} has no metrics yet", err=True)


@runs.command()
@name_argument
@click.argument("wanted", metavar="RUN RUN...", nargs=-1, required=True)
@click.option("--metric", "metrics", metavar="M", multiple=True, help="Only this metric; may be given several times.")
@plot_option
@json_option
def compare(name: str, wanted: tuple[str, ...], metrics: tuple[str, ...], plot: Path | None, as_json: bool) -> None:
    """Runs side by side: where their configs differ, and the last and best of each metric.

    The picture lays the curves over each other: over steps, or, where runs are of different length, over the share of
    each run.
    """
    from peft_studio.cli.runs_view import compared, comparison_table

    if len(wanted) < 2:
        raise click.UsageError("name two runs, or more")

    async def ask(tracked: TrackedRuns) -> Measured:
        return [
            await _measured(tracked, run, f"reading run {run} ({number} of {len(wanted)})")
            for number, run in enumerate(wanted, start=1)
        ]

    found = _with_runs(name, ask, what="")
    chosen = _chosen(found, metrics)
    if plot is not None:
        _draw_comparison(found, metrics or chosen[:1], plot)
    if as_json:
        print_json(compared(found, chosen))
    else:
        print_table(*comparison_table(found, chosen))
        if not chosen:
            click.echo("these runs have no metrics yet", err=True)


async def _measured(tracked: TrackedRuns, wanted: str, what: str) -> tuple[Run, Mapping[str, Curve]]:
    from peft_studio.cli.waiting import waited_for
    from peft_studio.tracking.curves import curves_of

    async def read() -> tuple[Run, Mapping[str, Curve]]:
        run = await tracked.find(wanted)
        return run, curves_of(await tracked.manager.get_metrics(tracked.tracker, run.id))

    return await waited_for(read(), what)


def _chosen(found: Measured, wanted: Sequence[str]) -> Sequence[str]:
    """The metrics that were asked for; else those of which it is known what is better, or all if there are none."""
    from difflib import get_close_matches

    from peft_studio.tracking.curves import lower_is_better

    known = list(dict.fromkeys(metric for _, curves in found for metric in curves))
    for metric in wanted:
        if metric not in known:
            near = get_close_matches(metric, known, n=1)
            meant = f"did you mean {near[0]}?" if near else f"they have {', '.join(known) or 'none'}"
            raise InvalidConfig(f"no run has a metric {metric}", remedy=meant)
    return wanted or [metric for metric in known if lower_is_better(metric) is not None] or known


def _draw_loss(run: Run, curves: Mapping[str, Curve], path: Path) -> None:
    from peft_studio.cli.plot import plot_loss
    from peft_studio.tracking.curves import loss_rows

    plot_loss(loss_rows(curves), path, title=run.name, labels=("step", "loss"))
    click.echo(f"drawn: {path}", err=True)


def _draw_comparison(found: Measured, metrics: Sequence[str], path: Path) -> None:
    from peft_studio.cli.plot import plot_comparison
    from peft_studio.cli.runs_view import labels

    names = labels([run for run, _ in found])
    drawn = {
        metric: {label: curves[metric] for label, (_, curves) in zip(names, found, strict=True) if metric in curves}
        for metric in metrics
    }
    if not drawn:
        raise InvalidConfig("these runs have no metrics to draw yet")
    lengths = [curve.steps[-1] for curves in drawn.values() for curve in curves.values()]
    plot_comparison(drawn, path, by_share=max(lengths) > 1.05 * min(lengths))
    click.echo(f"drawn: {path}", err=True)


def _with_runs(name: str, ask: Callable[[TrackedRuns], Awaitable[Result]], *, what: str) -> Result:
    """What `ask` answers, with the tracker connected; `what` is told while it takes long. First, what waits for it."""
    import asyncio

    from peft_studio.cli.desk import Desk
    from peft_studio.cli.trackers import require_tracker
    from peft_studio.cli.waiting import waited_for
    from peft_studio.ledger import Ledger
    from peft_studio.tracking.runs import TrackedRuns

    async def go(ledger: Ledger) -> Result:
        async with Desk(ledger).manager() as manager:
            require_tracker(manager.registry, name)
            tracked = TrackedRuns(manager, name, ledger)
            _tell_waiting(tracked)
            await manager.connect(name)
            return await (waited_for(ask(tracked), what) if what else ask(tracked))

    with Ledger() as ledger:
        return asyncio.run(go(ledger))


def _tell_waiting(tracked: TrackedRuns) -> None:
    """Told before anything is asked, so that it is told offline as well."""
    waiting = tracked.waiting()
    if waiting:
        jobs = f"{', '.join(list(waiting)[:3])}{', …' if len(waiting) > 3 else ''}"
        remedy = f"send them: peft-studio queue flush {tracked.tracker}"
        click.echo(f"{sum(waiting.values())} rows wait in the queue, of {jobs}; {remedy}", err=True)

"""`peft-studio jobs`: what was submitted, from any terminal, at any time."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click

from peft_studio.budget import Budget
from peft_studio.cli import INTERRUPTED
from peft_studio.cli.output import (
    ago,
    coloured,
    dollars,
    json_option,
    print_json,
    print_json_line,
    print_table,
    stamp,
)
from peft_studio.ledger import JobRecord, Ledger
from peft_studio.models import JobStatus
from peft_studio.paths import queue_file

Result = TypeVar("Result")


def _complete_id(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Ids for the shell's completion."""
    with Ledger() as ledger:
        return [job.id for job in ledger.jobs() if job.id.startswith(incomplete)]


id_argument = click.argument("id", shell_complete=_complete_id)


@click.group()
def jobs() -> None:
    """List, follow, stop and resume jobs; bring adapters home.

    ID is a job's id, or as much of its beginning or end as is needed.
    """


@jobs.result_callback()
def drain_queue(code: int | None, **_: object) -> int | None:
    """Once the command has told its result, do a little of what waits in the queue, if there is one."""
    if queue_file().exists() and _is_anything_due():
        from peft_studio.cli.offline import drain_briefly

        drain_briefly()
    return code


def _is_anything_due() -> bool:
    from peft_studio.queue import Queue

    with Queue() as queue:
        return bool(queue.due())


@jobs.command("list")
@json_option
def list_jobs(as_json: bool) -> None:
    """Every job, newest first."""
    with Ledger() as ledger:
        found = ledger.jobs()
        if any(job.status in (JobStatus.PENDING, JobStatus.RUNNING) and not job.is_queued for job in found):
            found = _with_jobs(ledger, lambda service: service.list_jobs())
    if as_json:
        print_json([_summary(job) for job in found])
    elif not found:
        click.echo("no jobs yet; start one: peft-studio run CONFIG", err=True)
    else:
        print_table(("ID", "CONNECTOR", "STATUS", "CREATED", "MODEL", "COST"), [_row(job) for job in found])


@jobs.command()
@id_argument
@json_option
def show(id: str, as_json: bool) -> None:
    """Everything that is known of a job."""
    with Ledger() as ledger:
        job = _with_jobs(ledger, lambda service: service.get(id))
        budget, notes = Budget(job, ledger.clock()), ledger.notes(job.id)
    details = {
        **_summary(job),
        "cost": budget.cost,
        "hourly_rate": job.hourly_rate,
        "currency": job.currency,
        "running_seconds": round(budget.seconds, 3),
        "cancelling_since": job.cancelling_since,
        "resumable": job.is_resumable,
        "unreachable_since": job.unreachable_since,
        "platform_id": job.platform_id,
        "notes": [f"{stamp(note.written)} {note.text}" for note in notes],
        "config": job.config,
    }
    if as_json:
        print_json(details)
        return
    for name, value in details.items():
        if name not in ("config", "notes") and value is not None:
            click.echo(f"{name:18} {_styled(job) if name == 'status' else _shown(value)}")
    for note in details["notes"]:
        click.echo(f"{'note':18} {note}")
    for name, value in job.config.items():
        click.echo(f"  {name:28} {value}")


@jobs.command()
@id_argument
@click.option("--follow", "-f", is_flag=True, help="Go on until the job stops.")
@click.option("--after", metavar="SEQUENCE", default=0, help="Only what came after this event.")
@click.option("--json", "as_json", is_flag=True, help="Print events, one JSON object per line.")
def logs(id: str, follow: bool, after: int, as_json: bool) -> None:
    """A job's log from its first line, or its events with --json."""
    from peft_studio.lines import LineWriter

    lines = LineWriter()

    def tell(event: Any) -> None:
        if as_json:
            print_json_line(
                {"sequence": event.sequence, "time": _precise(event.time), "type": event.type, **event.data}
            )
        elif (line := lines.line(event)) is not None:
            click.echo(line)

    async def stream(service: Any) -> None:
        if follow:
            async for event in service.follow(id, after):
                tell(event)
        else:
            for event in await service.events(id):
                if event.sequence > after:
                    tell(event)

    with Ledger() as ledger:
        _with_jobs(ledger, stream, followed=ledger.job(id) if follow else None)


@jobs.command()
@id_argument
@click.option("--plot", metavar="FILE.png", type=click.Path(path_type=Path), help="Draw the loss curve.")
@json_option
def metrics(id: str, plot: Path | None, as_json: bool) -> None:
    """A job's training and validation steps."""
    with Ledger() as ledger:
        job = _with_jobs(ledger, lambda service: service.get(id))
        rows = _with_jobs(ledger, lambda service: service.metrics(id))
    if plot is not None:
        from peft_studio.cli.plot import plot_loss

        plot_loss(rows, plot, title=f"{job.id}  {job.base_model}")
        click.echo(f"drawn: {plot}", err=True)
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo(f"job {job.id} has no metrics yet", err=True)
    elif plot is None:
        print_table(("STEP", "LOSS", "VALIDATION", "LR", "TOKENS/S"), [_metrics_row(row) for row in rows])


@jobs.command()
@id_argument
@json_option
def cancel(id: str, as_json: bool) -> None:
    """Stop a job for good; when its platform cannot be reached, as soon as it can."""
    import asyncio

    from peft_studio.cli.desk import Desk
    from peft_studio.queue.deferred import Deferred

    async def stop(desk: Desk) -> JobRecord:
        async with desk.manager() as manager:
            return await Deferred(manager, desk.ledger).cancel(id)

    with Ledger() as ledger:
        _tell(asyncio.run(stop(Desk(ledger))), as_json)


@jobs.command()
@id_argument
@json_option
def pause(id: str, as_json: bool) -> None:
    """Stop a job at its next step, with a checkpoint to go on from."""
    click.echo("stopping at the next step…", err=True)
    _change(lambda service: service.pause(id), as_json)


@jobs.command()
@id_argument
@click.option("--detach", is_flag=True, help="Return at once instead of following the job.")
@json_option
def resume(id: str, detach: bool, as_json: bool) -> int:
    """Let a paused or failed job go on from its last checkpoint."""
    from peft_studio.cli.desk import Desk
    from peft_studio.cli.run import watch

    with Ledger() as ledger:
        job = ledger.job(id)
        after = ledger.last_sequence(_with_jobs(ledger, lambda service: service.get(job.id)).id)
        job = _with_jobs(ledger, lambda service: service.resume(job.id))
        if not detach:
            return watch(Desk(ledger), job, as_json=as_json, after=after)
    _tell(job, as_json)
    return 0


@jobs.command()
@id_argument
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@json_option
def pull(id: str, directory: Path, as_json: bool) -> None:
    """Bring a job's adapter to DIR (new or empty), verified."""
    from peft_studio.cli.transfer import shown_transfer

    with Ledger() as ledger, shown_transfer():
        path = _with_jobs(ledger, lambda service: service.pull(id, directory))
    if as_json:
        print_json({"adapter": path.absolute()})
    else:
        click.echo(f"adapter: {path}")


def _with_jobs(
    ledger: Ledger, ask: Callable[[Any], Coroutine[Any, Any, Result]], followed: JobRecord | None = None
) -> Result:
    """Run one question to the jobs service, in a manager of its own; what is followed is tracked and published."""
    import asyncio
    from contextlib import nullcontext

    from peft_studio.cli.desk import Desk
    from peft_studio.cli.pushes import published, tell_pushes
    from peft_studio.cli.trackers import accompanied
    from peft_studio.jobs import Jobs
    from peft_studio.reconcile.briefly import reconcile_briefly

    async def answer() -> Result:
        desk = Desk(ledger)
        async with desk.manager() as manager:
            await reconcile_briefly(manager, ledger)
            async with nullcontext() if followed is None else accompanied(desk, manager, followed):
                result = await ask(Jobs(manager, ledger))
            if followed is not None:
                tell_pushes(await published(desk, manager, followed), err=True)
            return result

    try:
        return asyncio.run(answer())
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _change(ask: Callable[[Any], Coroutine[Any, Any, JobRecord]], as_json: bool) -> None:
    with Ledger() as ledger:
        _tell(_with_jobs(ledger, ask), as_json)


def _tell(job: JobRecord, as_json: bool) -> None:
    if as_json:
        print_json(_summary(job))
    else:
        click.echo(f"{job.id} {_styled(job)}")


def _summary(job: JobRecord) -> dict[str, Any]:
    return {
        "id": job.id,
        "connector": job.connector,
        "status": job.status,
        "reason": job.reason,
        "reachable": job.reachable,
        "created": job.created,
        "base_model": job.base_model,
        "cost": job.cost,
    }


def _row(job: JobRecord) -> tuple[str, ...]:
    model = job.base_model if len(job.base_model) <= 40 else f"…{job.base_model[-39:]}"
    return job.id, job.connector, _styled(job), ago(job.created), model, dollars(job.cost)


def _styled(job: JobRecord) -> str:
    text = coloured(job.status)
    if job.is_queued:
        return f"{text} ({job.reason})"
    if job.cancelling_since is not None and not job.status.is_terminal:
        text += click.style(f" (cancelling since {stamp(job.cancelling_since)})", fg="yellow")
    if job.unreachable_since is not None and not job.status.is_terminal:
        text += click.style(f" (unreachable since {stamp(job.unreachable_since)})", fg="red")
    return text


def _metrics_row(row: Any) -> tuple[str, ...]:
    if row["type"] == "eval":
        return str(row["step"]), "", f"{row['loss']:.4f}", "", ""
    return (
        str(row["step"]),
        f"{row['loss']:.4f}",
        "",
        f"{row['learning_rate']:.2e}",
        f"{row['tokens_per_second']:.0f}",
    )


def _precise(time: Any) -> str:
    """Event times keep their milliseconds."""
    return str(time.isoformat(timespec="milliseconds")).replace("+00:00", "Z")


def _shown(value: Any) -> str:
    return (
        stamp(value) if hasattr(value, "isoformat") else str(value).lower() if isinstance(value, bool) else str(value)
    )

"""`peft-studio run`: submit a job, watch it, let go of it or stop it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import click

from peft_studio.cli import INTERRUPTED, JOB_FAILED, JOB_STOPPED
from peft_studio.cli.output import json_option, print_json
from peft_studio.config import load_config, parse_override
from peft_studio.jobs import Jobs
from peft_studio.ledger import JobRecord, Ledger
from peft_studio.manager import ConnectorManager
from peft_studio.models import JobStatus
from peft_studio.training_config import TrainingConfig


@click.command()
@click.argument("config_file", metavar="CONFIG", type=click.Path(path_type=Path))
@click.option(
    "--on", "connector", metavar="NAME", help="Connector to run on.  [default: the config's provider, or local]"
)
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), help="Folder for the adapter; new or empty.")
@click.option("--set", "overrides", metavar="NAME=VALUE", multiple=True, help="Override a field of the config.")
@click.option("--detach", is_flag=True, help="Start the job and return; follow it with `jobs logs ID --follow`.")
@click.option("--dry-run", is_flag=True, help="Check everything that can be checked, start nothing.")
@json_option
def run(
    config_file: Path,
    connector: str | None,
    out: Path | None,
    overrides: tuple[str, ...],
    detach: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Fine-tune an adapter as CONFIG (.toml, .yaml or .json) says."""
    changes = dict(parse_override(assignment) for assignment in overrides)
    if out is not None:
        changes["output_dir"] = str(out.expanduser().absolute())
    config = load_config(config_file, changes)
    name = connector or config.provider or "local"
    with Ledger() as ledger:
        return Run(ledger, name, config, as_json=as_json).start(detach=detach, dry_run=dry_run)


class Run:
    """One job in the foreground."""

    def __init__(self, ledger: Ledger, connector: str, config: TrainingConfig, *, as_json: bool) -> None:
        self._ledger = ledger
        self._connector = connector
        self._config = config
        self._as_json = as_json

    def start(self, *, detach: bool = False, dry_run: bool = False) -> int:
        """Submit, and follow unless told otherwise; returns the exit code."""
        if dry_run:
            return self._dry_run()
        job = asyncio.run(self._submit())
        if detach:
            return self._tell_detached(job)
        return watch(self._ledger, job, as_json=self._as_json)

    async def _submit(self) -> JobRecord:
        async with ConnectorManager(ledger=self._ledger) as manager:
            return await Jobs(manager, self._ledger).submit(self._connector, self._config)

    def _dry_run(self) -> int:
        async def check() -> dict[str, Any]:
            async with ConnectorManager(ledger=False) as manager:
                await manager.connect(self._connector)
                await manager.validate_config(self._connector, self._config)
                resources = await manager.list_resources(self._connector)
            return {
                "connector": self._connector,
                "config": self._config.to_dict(),
                "resources": [resource.id for resource in resources],
            }

        plan = asyncio.run(check())
        if self._as_json:
            print_json(plan)
            return 0
        for field, value in plan["config"].items():
            click.echo(f"{field:28} {value}")
        click.echo(f"{self._connector} accepts this job; resources: {', '.join(plan['resources'])}", err=True)
        return 0

    def _tell_detached(self, job: JobRecord) -> int:
        if self._as_json:
            print_json({"id": job.id, "connector": job.connector, "status": job.status})
        else:
            click.echo(job.id)
            click.echo(f"follow it: peft-studio jobs logs {job.id} --follow", err=True)
        return 0


def watch(ledger: Ledger, job: JobRecord, *, as_json: bool = False, after: int = 0) -> int:
    """Show a job until it stops; Ctrl-C asks what to do with it. Returns the exit code."""
    from peft_studio.cli.view import open_view

    view = open_view(job, quiet=as_json)
    while True:
        try:
            with view:
                asyncio.run(_follow(ledger, job, view, after))
            return finish(ledger.job(job.id), as_json=as_json)
        except KeyboardInterrupt:
            after = view.last_sequence
            answer = _ask(job)
        if answer == "cancel":
            asyncio.run(_cancel(ledger, job))
            return finish(ledger.job(job.id), as_json=as_json)
        if answer == "detach":
            click.echo(f"job {job.id} goes on; follow it: peft-studio jobs logs {job.id} --follow", err=True)
            return INTERRUPTED


async def _follow(ledger: Ledger, job: JobRecord, view: Any, after: int) -> None:
    async with ConnectorManager(ledger=ledger) as manager:
        async for event in Jobs(manager, ledger).follow(job.id, after):
            view.show(event)


async def _cancel(ledger: Ledger, job: JobRecord) -> None:
    async with ConnectorManager(ledger=ledger) as manager:
        await Jobs(manager, ledger).cancel(job.id)


def _ask(job: JobRecord) -> str:
    """What Ctrl-C means. Without a terminal to ask on, the job goes on: nothing is lost by that."""
    if not sys.stdin.isatty():
        return "detach"
    click.echo(err=True)
    try:
        answer: str = click.prompt(
            f"job {job.id} is running: detach, cancel or watch on?",
            type=click.Choice(["detach", "cancel", "watch"]),
            default="detach",
            err=True,
        )
    except click.Abort:  # a second Ctrl-C
        return "detach"
    return answer


def finish(job: JobRecord, *, as_json: bool) -> int:
    """Tell how it ended, and where the adapter is."""
    adapter = _adapter(job) if job.status is JobStatus.COMPLETED else None
    if as_json:
        print_json(
            {"id": job.id, "connector": job.connector, "status": job.status, "reason": job.reason, "adapter": adapter}
        )
    elif job.status is JobStatus.COMPLETED:
        click.echo(f"adapter: {adapter}" if adapter else f"bring it home: peft-studio jobs pull {job.id} DIR")
    else:
        reason = f": {job.reason}" if job.reason else ""
        click.echo(f"{click.style('Error:', fg='red')} job {job.id} {job.status}{reason}", err=True)
        if job.is_resumable:
            click.echo(f"  try: peft-studio jobs resume {job.id}", err=True)
    if job.status is JobStatus.COMPLETED:
        return 0
    return JOB_FAILED if job.status is JobStatus.FAILED else JOB_STOPPED


def _adapter(job: JobRecord) -> str | None:
    folder = job.config.get("output_dir")
    return folder if folder and Path(folder, "adapter_config.json").is_file() else None

"""`peft-studio run`: submit a job, watch it, let go of it or stop it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from peft_studio.artifacts import require_empty
from peft_studio.cli import INTERRUPTED, JOB_FAILED, JOB_STOPPED
from peft_studio.cli.companions import introduce
from peft_studio.cli.desk import Desk
from peft_studio.cli.offline import limits_of, queue_run
from peft_studio.cli.output import json_option, print_json
from peft_studio.cli.pushes import PUSH_REFUSED, published, push_summary, pushed_to, tell_pushes
from peft_studio.cli.registries import complete_address
from peft_studio.cli.trackers import accompanied, tracked_by
from peft_studio.cli.transfer import shown_transfer
from peft_studio.config import load_config, parse_override
from peft_studio.errors import InvalidConfig
from peft_studio.homes import is_filled, kept_adapter
from peft_studio.ledger import JobRecord, Ledger
from peft_studio.models import JobStatus
from peft_studio.queue import Operation, State
from peft_studio.queue.deferred import Deferred
from peft_studio.queue.limits import Limits
from peft_studio.training_config import TrainingConfig

if TYPE_CHECKING:
    from peft_studio.cli.view import View
    from peft_studio.manager import ConnectorManager


@click.command()
@click.argument("config_file", metavar="CONFIG", type=click.Path(path_type=Path))
@click.option(
    "--on", "connector", metavar="NAME", help="Connector to run on.  [default: the config's provider, or local]"
)
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), help="Folder for the adapter; new or empty.")
@click.option("--set", "overrides", metavar="NAME=VALUE", multiple=True, help="Override a field of the config.")
@click.option("--track", "trackers", metavar="NAME", multiple=True, help="Tracker that records it; may be repeated.")
@click.option(
    "--push", "registries", metavar="CONNECTOR:MODEL", multiple=True, shell_complete=complete_address,
    help="Publish the adapter, as huggingface:me/my-adapter; may be repeated.",
)  # fmt: skip
@click.option("--detach", is_flag=True, help="Start the job and return; follow it with `jobs logs ID --follow`.")
@click.option("--sandbox", is_flag=True, help="Try it on this machine: the connector's sandbox, no account, no bill.")
@click.option("--offline", is_flag=True, help="Queue the job and ask nobody; `queue flush` submits it.")
@click.option("--max-price-change", metavar="PERCENT", help="When queued: ask if the price has risen by more.")
@click.option("--max-age", metavar="TIME", help="When queued: ask if it has waited for longer, such as 12h.")
@click.option("--dry-run", is_flag=True, help="Check everything that can be checked, start nothing.")
@json_option
def run(
    config_file: Path,
    connector: str | None,
    out: Path | None,
    overrides: tuple[str, ...],
    trackers: tuple[str, ...],
    registries: tuple[str, ...],
    detach: bool,
    sandbox: bool,
    offline: bool,
    max_price_change: str | None,
    max_age: str | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Fine-tune an adapter as CONFIG (.toml, .yaml or .json) says."""
    changes = dict(parse_override(assignment) for assignment in overrides)
    if out is not None:
        changes["output_dir"] = str(out.expanduser().absolute())
    config = pushed_to(tracked_by(load_config(config_file, changes), trackers), registries)
    name = connector or config.provider or "local"
    if offline and (sandbox or dry_run):
        raise click.UsageError("--offline asks nobody: leave out --sandbox and --dry-run")
    if sandbox and (trackers or registries):
        raise click.UsageError("--sandbox leaves nothing behind: leave out --track and --push")
    limits = limits_of(max_price_change, max_age)
    if offline:
        return queue_run(name, config, limits, as_json=as_json)
    if sandbox:
        return _run_at_sandbox(name, config, detach=detach, dry_run=dry_run, as_json=as_json)
    with Ledger() as ledger:
        return Run(Desk(ledger), name, config, as_json=as_json, limits=limits).start(detach=detach, dry_run=dry_run)


def _run_at_sandbox(name: str, config: TrainingConfig, *, detach: bool, dry_run: bool, as_json: bool) -> int:
    from peft_studio.cli.sandbox import trial

    if detach:
        raise click.UsageError("--sandbox stops with this command: leave out --detach")
    with trial(name) as desk:
        return Run(desk, name, config, as_json=as_json).start(dry_run=dry_run)


class Run:
    """One job in the foreground."""

    def __init__(
        self, desk: Desk, connector: str, config: TrainingConfig, *, as_json: bool, limits: Limits | None = None
    ) -> None:
        self._desk = desk
        self._limits = limits
        self._connector = connector
        self._config = config
        self._as_json = as_json

    def start(self, *, detach: bool = False, dry_run: bool = False) -> int:
        """Submit, and follow unless told otherwise; returns the exit code."""
        if dry_run:
            return self._dry_run()
        job = asyncio.run(self._submit())
        if detach:
            asyncio.run(_feed(self._desk, job))
            return self._tell_detached(job)
        return watch(self._desk, job, as_json=self._as_json)

    async def _submit(self) -> JobRecord:
        async with self._desk.manager() as manager:
            await self._check_output(manager)
            await introduce(manager, self._config)
            if self._desk.is_throwaway:
                return await manager.jobs.submit(self._connector, self._config, feed=False)
            deferred = Deferred(manager, self._desk.ledger)
            return await deferred.submit(self._connector, self._config, self._limits, feed=False)

    async def _check_output(self, manager: ConnectorManager) -> None:
        """Refuse a folder that is not empty now, rather than after a job that cost money."""
        if self._config.output_path is None:
            return
        try:
            require_empty(self._config.output_path)
        except InvalidConfig:
            await manager.connect(self._connector)
            await manager.validate_config(self._connector, self._config)  # tells whatever else is wrong, too
            raise

    def _dry_run(self) -> int:
        async def check() -> dict[str, Any]:
            async with self._desk.manager() as manager:
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


def watch(desk: Desk, job: JobRecord, *, as_json: bool = False, after: int = 0) -> int:
    """Show a job until it stops, and bring its adapter home; Ctrl-C asks what to do with it. Returns the exit code."""
    from peft_studio.cli.view import open_view

    view = open_view(job, quiet=as_json)
    while True:
        try:
            with view:
                asyncio.run(_follow(desk, job, view, after))
            pushes = asyncio.run(_bring_home(desk, desk.ledger.job(job.id)))
            return finish(desk, desk.ledger.job(job.id), pushes, as_json=as_json)
        except KeyboardInterrupt:
            after = view.last_sequence
            answer = _ask(job, may_detach=not desk.is_throwaway)
        if answer == "cancel":
            asyncio.run(_cancel(desk, job))
            return finish(desk, desk.ledger.job(job.id), as_json=as_json)
        if answer == "detach":
            _let_go(desk, job)
            return INTERRUPTED


async def _follow(desk: Desk, job: JobRecord, view: View, after: int) -> None:
    async with desk.manager() as manager, accompanied(desk, manager, job):
        async for event in manager.jobs.follow(job.id, after):
            view.show(event)


async def _feed(desk: Desk, job: JobRecord) -> None:
    """Before it may be let go: bring to the job what it needs, and say how that goes."""
    async with desk.manager() as manager:
        await manager.jobs.feed(job.id, lambda line: click.echo(line, err=True))


async def _bring_home(desk: Desk, job: JobRecord) -> list[Operation]:
    """Download the adapter of a completed job to its output_dir, unless the platform has put it there itself.

    Then nothing that was rented may be left; and what is to be published goes out, or waits in the queue.
    """
    folder = _output(job)
    async with desk.manager() as manager:
        if job.status is JobStatus.COMPLETED and folder is not None and not is_filled(folder):
            with shown_transfer():
                await manager.jobs.pull(job.id, folder)
        for ended in await manager.jobs.finish(job.id):
            for problem in ended.problems:
                click.echo(f"{click.style('Warning:', fg='yellow')} {problem}", err=True)
            if not ended.is_gone:
                click.echo(f"  try: peft-studio reconcile {job.connector} --destroy", err=True)
        return await published(desk, manager, job)


async def _cancel(desk: Desk, job: JobRecord) -> None:
    async with desk.manager() as manager:
        await Deferred(manager, desk.ledger).cancel(job.id)


def _let_go(desk: Desk, job: JobRecord) -> None:
    """Leave a job to itself, once it has what it needs of this machine."""
    follow = f"peft-studio jobs logs {job.id} --follow"
    try:
        if not desk.ledger.last_sequence(job.id):
            asyncio.run(_feed(desk, job))
    except KeyboardInterrupt:
        click.echo(f"job {job.id} may still wait for its data; bring them there: {follow}", err=True)
        return
    click.echo(f"job {job.id} goes on; follow it: {follow}", err=True)


def _ask(job: JobRecord, *, may_detach: bool) -> str:
    """What Ctrl-C means. Without a terminal to ask on, the job goes on where it can: nothing is lost by that."""
    otherwise = "detach" if may_detach else "cancel"
    if not sys.stdin.isatty():
        return otherwise
    choices = ["detach", "cancel", "watch"] if may_detach else ["cancel", "watch"]
    click.echo(err=True)
    try:
        answer: str = click.prompt(
            f"job {job.id} is running: {', '.join(choices[:-1])} or watch on?",
            type=click.Choice(choices),
            default=otherwise,
            err=True,
        )
    except click.Abort:  # a second Ctrl-C
        return otherwise
    return answer


def finish(desk: Desk, job: JobRecord, pushes: Sequence[Operation] = (), *, as_json: bool) -> int:
    """Tell how it ended, where the adapter is, and where it went."""
    adapter = kept_adapter(desk.ledger, job)
    if as_json:
        outcome = {name: getattr(job, name) for name in ("id", "connector", "status", "reason")}
        print_json({**outcome, "adapter": adapter, "pushes": [push_summary(push) for push in pushes]})
    elif job.status is JobStatus.COMPLETED:
        click.echo(f"adapter: {adapter}" if adapter else _where_it_is(desk, job))
    else:
        reason = f": {job.reason}" if job.reason else ""
        click.echo(f"{click.style('Error:', fg='red')} job {job.id} {job.status}{reason}", err=True)
        if job.is_resumable and not desk.is_throwaway:
            click.echo(f"  try: peft-studio jobs resume {job.id}", err=True)
    if not as_json:
        tell_pushes(pushes)
    if job.status is JobStatus.COMPLETED:
        return PUSH_REFUSED if any(push.state is State.DEAD for push in pushes) else 0
    return JOB_FAILED if job.status is JobStatus.FAILED else JOB_STOPPED


def _where_it_is(desk: Desk, job: JobRecord) -> str:
    if desk.is_throwaway:
        return "the adapter is gone with the sandbox; keep the next one: --out DIR"
    return f"bring it home: peft-studio jobs pull {job.id} DIR"


def _output(job: JobRecord) -> Path | None:
    folder = job.config.get("output_dir")
    return None if folder is None else Path(folder).expanduser().absolute()

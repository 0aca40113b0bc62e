"""`peft-studio push` and `pull`: adapters and models, to a registry and home."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from peft_studio.artifacts import require_empty
from peft_studio.cli.desk import Desk
from peft_studio.cli.output import json_option, print_json
from peft_studio.cli.registries import address_of, complete_address
from peft_studio.cli.transfer import as_size, shown_transfer
from peft_studio.cli.waiting import waited_for
from peft_studio.errors import ArtifactNotFound, InvalidConfig, JobNotFound
from peft_studio.ledger import JobRecord, Ledger
from peft_studio.models import JobStatus

if TYPE_CHECKING:
    from peft_studio.manager import ConnectorManager
    from peft_studio.model_address import ModelAddress


@click.command()
@click.argument("source", metavar="ADAPTER")
@click.argument("address", metavar="CONNECTOR:MODEL", shell_complete=complete_address)
@click.option("--private/--public", default=None, help="Who may see a new one.  [default: as the registry does]")
@click.option("--message", metavar="TEXT", help="What has changed, where the registry keeps that.")
@click.option("--set", "facts", metavar="NAME=VALUE", multiple=True, help="Metadata, such as license=apache-2.0.")
@json_option
def push(
    source: str, address: str, private: bool | None, message: str | None, facts: tuple[str, ...], as_json: bool
) -> None:
    """Publish ADAPTER, a folder or the id of a job, as CONNECTOR:MODEL, such as huggingface:me/my-adapter.

    When the registry cannot be reached, the upload waits in the offline queue.
    """
    from peft_studio.config import parse_override

    place = address_of(address)
    metadata: dict[str, Any] = dict(parse_override(fact) for fact in facts)
    metadata = {**place.metadata, **metadata, "repo_id": place.model_id}
    metadata |= {} if private is None else {"private": private}
    metadata |= {} if message is None else {"message": message}
    began = time.monotonic()
    folder = Path(source).expanduser()
    with Ledger() as ledger:
        job = None if folder.exists() else _job(ledger, source)
        path, id = asyncio.run(_push(Desk(ledger), job or folder.absolute(), place, metadata))
    if as_json:
        print_json({"connector": place.connector, "id": id, "source": path})
    else:
        click.echo(f"pushed: {place.connector}:{id}  {_size(path)} in {time.monotonic() - began:.1f} s")


def _job(ledger: Ledger, source: str) -> JobRecord:
    try:
        return ledger.job(source)
    except JobNotFound as error:
        raise InvalidConfig(f"{source} is neither a folder nor a job", remedy="see: peft-studio jobs list") from error


async def _push(
    desk: Desk, source: Path | JobRecord, place: ModelAddress, metadata: dict[str, Any]
) -> tuple[Path, str]:
    from peft_studio.publishing.publisher import facts_of
    from peft_studio.queue.deferred import Deferred

    async with desk.manager() as manager:
        if isinstance(source, Path):
            path = source
        else:
            path = await _brought_home(desk, manager, source)
            metadata = {**facts_of(desk.ledger, source), **metadata}
        click.echo(f"pushing {_size(path)} to {place}…", err=True)
        uploading = Deferred(manager, desk.ledger).upload(place.connector, path, metadata)
        return path, await waited_for(uploading, "pushing")


async def _brought_home(desk: Desk, manager: ConnectorManager, job: JobRecord) -> Path:
    from peft_studio.publishing.publisher import at_home

    if not job.status.is_terminal:
        job = await manager.jobs.get(job.id)
    if job.status is not JobStatus.COMPLETED:
        raise ArtifactNotFound(f"job {job.id} has no adapter", why=f"it is {job.status}")
    return await at_home(manager, desk.ledger, job)


@click.command()
@click.argument("address", metavar="CONNECTOR:MODEL", shell_complete=complete_address)
@click.argument("directory", metavar="[DIR]", type=click.Path(path_type=Path), required=False)
@json_option
def pull(address: str, directory: Path | None, as_json: bool) -> None:
    """Bring CONNECTOR:MODEL, such as huggingface:me/my-adapter, to DIR (new or empty), verified.

    Without DIR it is a folder with the model's name, here. A download that was broken off is gone on with.
    """
    place = address_of(address)
    folder = directory or Path(place.name)
    require_empty(folder)
    began = time.monotonic()
    with Ledger() as ledger:
        path = asyncio.run(_pull(Desk(ledger), place, folder))
    if as_json:
        print_json({"connector": place.connector, "id": place.model_id, "path": path.absolute()})
    else:
        click.echo(f"pulled: {path}  {_size(path)} in {time.monotonic() - began:.1f} s")


async def _pull(desk: Desk, place: ModelAddress, folder: Path) -> Path:
    async with desk.manager() as manager:
        await manager.connect(place.connector)
        click.echo(f"pulling {place}…", err=True)
        with shown_transfer():
            return await manager.download_model(place.connector, place.model_id, folder)


def _size(path: Path) -> str:
    """Of a file, or of everything in a folder, for people."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return as_size(sum(file.stat().st_size for file in files))

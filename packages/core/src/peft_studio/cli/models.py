"""`peft-studio models`: what registries have."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import attrs
import click

from peft_studio.cli.connectors import complete_name
from peft_studio.cli.desk import Desk
from peft_studio.cli.output import ago, json_option, print_json, print_table, stamp
from peft_studio.cli.push import pull, push
from peft_studio.cli.registries import address_of, complete_address, registry_names, require_registry
from peft_studio.errors import PeftStudioError
from peft_studio.ledger import Ledger

if TYPE_CHECKING:
    from peft_studio.models import ModelInfo

Found = list[tuple[str, "list[ModelInfo] | PeftStudioError"]]


@click.group()
def models() -> None:
    """Search, show, pull and push models of registries.

    A model is written CONNECTOR:MODEL, such as huggingface:me/my-adapter.
    """


models.add_command(pull)
models.add_command(push)


@models.command()
@click.argument("words", metavar="QUERY...", nargs=-1, required=True)
@click.option(
    "--on", "names", metavar="NAME", multiple=True, shell_complete=complete_name,
    help="Registry to search; may be repeated.  [default: all that are installed]",
)  # fmt: skip
@click.option(
    "--limit", metavar="N", type=click.IntRange(min=1), default=20, show_default=True, help="Of each registry."
)
@json_option
def search(words: tuple[str, ...], names: tuple[str, ...], limit: int, as_json: bool) -> None:
    """Models that match QUERY; what it may hold beside words is the registry's, such as author:NAME or tag:lora."""
    for name in names:
        require_registry(name)
    found = asyncio.run(_search(names or registry_names(), " ".join(words), limit))
    failed = [(name, answer) for name, answer in found if isinstance(answer, PeftStudioError)]
    if len(failed) == len(found):
        raise failed[0][1]
    for name, error in failed:
        click.echo(f"{name}: {error}", err=True)
    rows = [(name, model) for name, answer in found if isinstance(answer, list) for model in answer]
    if as_json:
        print_json([{"connector": name, **attrs.asdict(model)} for name, model in rows])
    elif not rows:
        click.echo("nothing matches", err=True)
    else:
        print_table(("MODEL", "BASE MODEL", "LICENSE", "DOWNLOADS", "CREATED"), [_row(*each) for each in rows])


async def _search(names: Any, query: str, limit: int) -> Found:
    """What each registry answers, or why it does not: one that is away hides no other."""

    async def ask(name: str) -> tuple[str, list[ModelInfo] | PeftStudioError]:
        try:
            await manager.connect(name)
            return name, await manager.search_models(name, query, limit)
        except PeftStudioError as error:
            return name, error

    with Ledger() as ledger:
        async with Desk(ledger).manager() as manager:
            return list(await asyncio.gather(*map(ask, names)))


@models.command()
@click.argument("address", metavar="CONNECTOR:MODEL", shell_complete=complete_address)
@json_option
def show(address: str, as_json: bool) -> None:
    """What the registry knows of a model."""
    place = address_of(address)

    async def ask() -> ModelInfo:
        with Ledger() as ledger:
            async with Desk(ledger).manager() as manager:
                await manager.connect(place.connector)
                return await manager.get_model_metadata(place.connector, place.model_id)

    details = {"connector": place.connector, **attrs.asdict(asyncio.run(ask()))}
    if as_json:
        print_json(details)
        return
    for name, value in details.items():
        if value not in (None, ()):
            click.echo(f"{name:12} {_shown(value)}")


def _row(name: str, model: ModelInfo) -> tuple[str, ...]:
    created = "-" if model.created is None else ago(model.created)
    downloads = "-" if model.downloads is None else f"{model.downloads:,}"
    return f"{name}:{model.id}", model.base_model or "-", model.license or "-", downloads, created


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return stamp(value) if hasattr(value, "isoformat") else f"{value:,}" if isinstance(value, int) else str(value)

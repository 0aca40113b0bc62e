"""`peft-studio auth`: store credentials, see where they come from, remove them. Their values are never shown."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable

import click

from peft_studio.cli.connectors import complete_name, name_argument
from peft_studio.cli.desk import serve_one_person
from peft_studio.cli.login import ask, read, verify
from peft_studio.cli.output import json_option, print_json, print_table
from peft_studio.credentials import Found, Source
from peft_studio.credentials.encrypted_file import EncryptedFile
from peft_studio.credentials.keyring_store import KeyringStore
from peft_studio.credentials.sources import default_stores
from peft_studio.credentials.status import ConnectorStatus, FieldStatus, status_of
from peft_studio.credentials.stores import Entry, NoStore, Store, StoreUnusable
from peft_studio.credentials.vaults import ask_vaults
from peft_studio.errors import BrokenConnector, ConnectorNotFound, InvalidConfig, InvalidCredentials
from peft_studio.manifest import Manifest
from peft_studio.records import ConnectorRecord
from peft_studio.registry import ConnectorRegistry

#: What the user can do about a source that we do not write.
_ELSEWHERE = {
    Source.ENVIRONMENT: "unset it",
    Source.VAULT: "remove it in the vault",
    Source.LOGIN_FILE: "log out with the platform's own program",
}


@click.group()
def auth() -> None:
    """Store, show and remove the credentials of connectors."""
    serve_one_person()


@auth.command()
@name_argument
@click.option("--stdin", "from_stdin", is_flag=True, help="Read the secret, or a JSON object of several fields.")
@click.option("--no-verify", is_flag=True, help="Store without asking the platform.")
@click.option("--encrypted-file", is_flag=True, help="Keep them in a file with a passphrase, where no keyring is.")
def login(name: str, from_stdin: bool, no_verify: bool, encrypted_file: bool) -> None:
    """Ask for the credentials of connector NAME, try them, and keep them in the keyring.

    They are never an argument: other users can read those. The passphrase of the encrypted file is asked for, or taken
    from PEFT_STUDIO_PASSPHRASE.
    """
    registry = ConnectorRegistry()
    record, manifest = _described(registry, name)
    if not from_stdin and not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask on; pipe the secret in, with --stdin")
    store: Store = EncryptedFile() if encrypted_file else KeyringStore()
    store.open()
    fields = read(manifest, sys.stdin.read()) if from_stdin else ask(manifest)
    if not no_verify:
        asyncio.run(verify(registry, name, fields))
    store.put(name, Entry(str(record.distribution), fields))
    click.echo(f"stored {' and '.join(fields)} of {name} in the {store.source} ({store.detail})")
    for field in status_of(manifest, record.distribution, stores=[store]).fields:
        if field.found is not None and not field.found.source.is_ours and field.field in fields:
            click.echo(f"note: {field.field} is taken from the {_place(field.found)}, which goes first", err=True)


@auth.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_name)
@json_option
def status(names: tuple[str, ...], as_json: bool) -> int:
    """Where each credential comes from, and which others that source hides.

    Ends with 4 when a connector that was named lacks something. Vault plugins are asked, and imported for it.
    """
    registry = ConnectorRegistry()
    found = [_status(registry, record) for record in _records(registry, names)]
    fields = [field for each in found for field in each.fields]
    if as_json:
        complaints = [str(complaint) for each in found for complaint in each.complaints]
        print_json({"fields": [field.to_dict() for field in fields], "problems": list(dict.fromkeys(complaints))})
    elif fields:
        print_table(("CONNECTOR", "FIELD", "SOURCE", "WHERE"), [_row(field) for field in fields])
    else:
        click.echo("no installed connector needs credentials", err=True)
    if not as_json:
        _tell_complaints(found)
    return InvalidCredentials.exit_code if names and any(field.is_missing for field in fields) else 0


@auth.command()
@name_argument
def logout(name: str) -> None:
    """Remove what `auth login` stored for connector NAME, and say what is kept elsewhere."""
    removed, unusable = [], []
    for store in default_stores():
        try:
            if store.remove(name):
                removed.append(store)
        except StoreUnusable as error:
            unusable += [] if isinstance(error, NoStore) else [error]
    for store in removed:
        click.echo(f"removed {name} from the {store.source} ({store.detail})")
    try:
        _tell_the_rest(name)
    except ConnectorNotFound:
        if not removed and not unusable:
            raise
    if unusable:
        raise unusable[0]
    if not removed:
        click.echo(f"nothing was stored for {name}")


def _tell_the_rest(name: str) -> None:
    registry = ConnectorRegistry()
    record = registry.describe(name)
    if record.manifest is None:
        return
    for field in _status(registry, record, stores=()).fields:
        for found in (*((field.found,) if field.found else ()), *field.hidden):
            click.echo(f"still there: {field.field} in the {_place(found)}; {_ELSEWHERE[found.source]}", err=True)


def _described(registry: ConnectorRegistry, name: str) -> tuple[ConnectorRecord, Manifest]:
    """What there is to log in to. Imports nothing."""
    record = registry.describe(name)
    if not record.is_usable:
        problem = record.problems[0]
        raise BrokenConnector(f"{name} cannot be used", why=problem.message, remedy=problem.remedy)
    if record.manifest is None:
        raise InvalidConfig(f"{name} has no connector.json, so nothing tells what it needs", remedy="ask its author")
    if not record.manifest.credentials:
        raise InvalidConfig(f"{name} needs no credentials")
    return record, record.manifest


def _records(registry: ConnectorRegistry, names: Iterable[str]) -> list[ConnectorRecord]:
    return [registry.describe(name) for name in names] if names else registry.list()


def _status(
    registry: ConnectorRegistry, record: ConnectorRecord, stores: Iterable[Store] | None = None
) -> ConnectorStatus:
    if record.manifest is None:
        return ConnectorStatus((), ())

    def vault(field: str) -> tuple[str, str] | None:
        return ask_vaults(registry, record.name, field, [])

    chosen = None if stores is None else list(stores)
    return status_of(record.manifest, record.distribution, vault=vault, stores=chosen)


def _row(field: FieldStatus) -> tuple[str, ...]:
    if field.found is None:
        missing = click.style("missing", fg="red") if field.required else "-"
        return field.connector, field.field, missing, "" if field.required else "optional"
    hides = f" (hides the {', the '.join(map(_place, field.hidden))})" if field.hidden else ""
    return field.connector, field.field, str(field.found.source), f"{field.found.detail or ''}{hides}"


def _tell_complaints(found: Iterable[ConnectorStatus]) -> None:
    """Each once; that there is no keyring matters only to those who miss something."""
    told: dict[str, str | None] = {}
    for each in found:
        is_short = any(field.is_missing for field in each.fields)
        told |= {str(error): error.remedy for error in each.complaints if is_short or not isinstance(error, NoStore)}
    for sentence, remedy in told.items():
        click.echo(f"{click.style('note:', fg='yellow')} {sentence}", err=True)
        if remedy:
            click.echo(f"  try: {remedy}", err=True)


def _place(found: Found) -> str:
    return f"{found.source} ({found.detail})" if found.detail else str(found.source)

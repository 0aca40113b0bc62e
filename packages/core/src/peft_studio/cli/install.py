"""`peft-studio connectors install|export`: add plugins the way in which peft-studio itself is installed here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import click

from peft_studio._metadata import installed, normalized
from peft_studio._origins import requirement_line
from peft_studio.cli.connectors import BROKEN
from peft_studio.cli.output import json_option, print_json, print_table
from peft_studio.discovery import scan
from peft_studio.errors import PeftStudioError
from peft_studio.installers import shown, this_installation
from peft_studio.registry import FIRST_PARTY
from peft_studio.requirements import Requirement, parse_requirement

TRUST = "a plugin runs with your rights as soon as it is used: install only what you trust"


def _complete_name(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    """Our own connectors that are not there yet; the shell adds files and folders."""
    if incomplete.startswith((".", "/", "~")):
        return [click.shell_completion.CompletionItem(incomplete, type="file")]
    return [name for name in FIRST_PARTY if name.startswith(incomplete) and name not in scan()]


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=_complete_name)
@click.option("-e", "--editable", is_flag=True, help="NAME is the folder of a project that you are working on.")
@click.option("--run", "is_run", is_flag=True, help="Run the command instead of showing it.")
@json_option
def install(names: tuple[str, ...], editable: bool, is_run: bool, as_json: bool) -> int:
    """Show the command that installs connectors here, or run it.

    NAME is one of this project's connectors, or whatever pip takes: a distribution, a requirement, a path, an address.
    """
    requirements = [parse_requirement(name, is_editable=editable) for name in names]
    installation = this_installation()
    command = installation.install(*requirements)
    told = {"installer": installation.installer, "environment": installation.prefix, "command": command}
    for note in _notes(names, command):
        click.echo(f"{click.style('note', fg='yellow')}: {note}", err=True)
    if not is_run:
        print_json(told | {"ran": False}) if as_json else click.echo(shown(command))
        return 0
    before = _listed()
    _run(command, output=sys.stderr if as_json else None)
    records = _concerned(requirements, before, _listed())
    if as_json:
        print_json(told | {"ran": True, "connectors": records})
    else:
        _tell(records)
    return 0 if all(record["state"] in ("found", "described") for record in records) else BROKEN


@click.command()
@json_option
def export(as_json: bool) -> None:
    """The installed plugins as lines of a requirements file."""
    plugins = [candidate.plugin for candidates in scan().values() for candidate in candidates]
    owners = {normalized(plugin.distribution) for plugin in plugins}
    entries = {entry.key: entry for entry in reversed(installed()) if entry.key in owners}
    lines = {entry.name: _line(entry) for entry in sorted(entries.values(), key=lambda entry: entry.key)}
    if as_json:
        print_json([{"distribution": name, "requirement": line} for name, line in lines.items()])
        return
    for line in lines.values():
        click.echo(line)


def _line(entry: Any) -> str:
    try:
        return requirement_line(entry)
    except ValueError as error:
        remedy = "peft-studio connectors doctor"
        raise PeftStudioError(f"where {entry.name} came from cannot be told", why=str(error), remedy=remedy) from error


def _notes(names: Sequence[str], command: Sequence[str]) -> list[str]:
    ours = ", ".join(FIRST_PARTY)
    others = [name for name in names if name.isidentifier() and name not in FIRST_PARTY]
    notes = [TRUST, *(f"{name} is taken as a distribution; our own connectors are {ours}" for name in others)]
    if shutil.which(command[0]) is None:
        notes.append(f"{command[0]} is not on PATH")
    return notes


def _run(command: Sequence[str], *, output: Any) -> None:
    click.echo(f"$ {shown(list(command))}", err=True)
    try:
        code = subprocess.run(command, check=False, stdout=output).returncode
    except FileNotFoundError as error:
        raise PeftStudioError(f"{command[0]} is not on PATH", remedy=f"install {command[0]}, or mend PATH") from error
    if code:
        raise PeftStudioError(f"{command[0]} ended with exit code {code}", remedy="its messages above say why")


def _listed() -> list[dict[str, Any]]:
    """What is installed, asked of a new process: this one may have lost its own files to an upgrade."""
    command = [sys.executable, "-m", "peft_studio.cli", "connectors", "list", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PeftStudioError("the connectors cannot be listed", why=done.stderr.strip(), remedy=shown(command))
    listed: list[dict[str, Any]] = json.loads(done.stdout)
    return listed


def _concerned(
    requirements: Sequence[Requirement], before: list[dict[str, Any]], after: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """What came, what changed, and what was asked for though it was there."""
    names = {requirement.name for requirement in requirements}
    return [record for record in after if record not in before or normalized(record["distribution"] or "") in names]


def _tell(records: Sequence[dict[str, Any]]) -> None:
    if not records:
        click.echo("what was installed delivers no connector; see: peft-studio connectors list", err=True)
        return
    rows = [(record["name"], record["state"], f"{record['distribution']} {record['version']}") for record in records]
    print_table(("NAME", "STATE", "DISTRIBUTION"), rows)
    for record in records:
        for problem in record["problems"]:
            click.echo(f"{record['name']}: {problem}; try: peft-studio connectors doctor", err=True)

"""`peft-studio connectors`: what is installed, what it can do, and what is wrong with it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from peft_studio._seen import SeenPlugins
from peft_studio.cli._testkit import testkit
from peft_studio.cli.output import json_option, print_json, print_table
from peft_studio.discovery import scan
from peft_studio.records import FEATURES, Severity, State
from peft_studio.registry import ConnectorRegistry

if TYPE_CHECKING:
    from peft_studio.records import ConnectorRecord, Finding

_COLOURS = {
    State.ACTIVE: "green",
    State.BROKEN: "red",
    State.AMBIGUOUS: "red",
    State.DISABLED: "yellow",
}
SEVERITY_COLOURS = {Severity.FAULT: "red", Severity.WARNING: "yellow", Severity.ADVICE: "cyan"}
BROKEN = 10


#: Commands with a module of their own, which is imported when one of them is used: name -> (module, line of help).
MORE = {
    "doctor": ("doctor", "Look for what is wrong with the plugins that are installed here."),
    "install": ("install", "Show the command that installs connectors here, or run it."),
    "export": ("install", "The installed plugins as lines of a requirements file."),
    "policy": ("policy", "Who may be imported, and which variable or file says so."),
    "allow": ("policy", "Let in these connectors, and nobody who is not on the list."),
    "deny": ("policy", "Keep these connectors out, whatever else lets them in."),
    "pin": ("policy", "Say to whom a connector's name belongs."),
}

#: Commands of the testkit, which may not be installed: name -> (its place there, line of help).
OF_TESTKIT = {
    "new": ("scaffold.command.new", "Write the distribution of a new connector."),
}


class ConnectorCommands(click.Group):
    """The group; shows the help of commands that it has not imported."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*self.commands, *MORE, *OF_TESTKIT]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name in OF_TESTKIT:
            command: click.Command = testkit(OF_TESTKIT[name][0])
        elif name in MORE:
            command = getattr(import_module(f"peft_studio.cli.{MORE[name][0]}"), name)
        else:
            return super().get_command(context, name)
        return command

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, command.get_short_help_str(100)) for name, command in self.commands.items()]
        rows += [(name, line) for name, (_, line) in (MORE | OF_TESTKIT).items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def complete_name(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names for the shell's completion."""
    return [name for name in scan() if name.startswith(incomplete)]


name_argument = click.argument("name", shell_complete=complete_name)


@click.group(cls=ConnectorCommands)
def connectors() -> None:
    """Connectors: list and check them, install them, decide who may be imported."""


@connectors.command("list")
@click.option("--feature", type=click.Choice(FEATURES), help="Only those that do this.")
@json_option
def list_connectors(feature: str | None, as_json: bool) -> None:
    """Every installed connector. Imports none of them."""
    registry = ConnectorRegistry()
    SeenPlugins().remember(registry.plugins())
    records = registry.list() if feature is None else registry.by_feature(feature)
    if as_json:
        print_json([record.to_dict() for record in records])
    elif not records:
        click.echo("no connectors are installed; the local one: peft-studio connectors install local", err=True)
    else:
        print_table(("NAME", "STATE", "FEATURES", "DISTRIBUTION"), [_row(record) for record in records])
        for record in records:
            for problem in record.problems:
                _tell_finding(problem, prefix=f"{record.name}: ", err=True)


@connectors.command()
@name_argument
@json_option
def show(name: str, as_json: bool) -> None:
    """One connector, described from its connector.json. Does not import it."""
    record = ConnectorRegistry().describe(name)
    if as_json:
        print_json(_details(record))
        return
    for label, value in _details(record).items():
        if value not in (None, [], {}):
            click.echo(f"{label:18} {_shown(value)}")


@connectors.command()
@name_argument
@click.option("--full", is_flag=True, help="Use it too, against its sandbox; needs the testkit.")
@click.option(
    "--report", metavar="FILE", type=click.Path(path_type=Path), help="Where compliance.json goes, with --full."
)
@click.option("--level", type=int, help="With --full: level of compliance.  [default: the connector's own]")
@json_option
@click.pass_context
def check(context: click.Context, name: str, full: bool, report: Path | None, level: int | None, as_json: bool) -> int:
    """Import a connector and say exactly what to mend, if anything."""
    if full:
        code: int = testkit("compliance.command.check_fully")(name, as_json=as_json, report=report, level=level)
        return code
    if report is not None or level is not None:
        context.fail("--report and --level belong to --full")
    registry = ConnectorRegistry()
    findings = registry.check(name)
    record = registry.describe(name)
    if as_json:
        print_json({**record.to_dict(), "findings": [_finding(finding) for finding in findings]})
    else:
        for finding in findings:
            _tell_finding(finding)
        if record.is_usable:
            click.echo(f"{click.style('ok', fg='green')} {name}  {', '.join(record.features)}")
    return 0 if record.is_usable else BROKEN


def _row(record: ConnectorRecord) -> tuple[str, ...]:
    state = click.style(str(record.state), fg=_COLOURS.get(record.state))
    origin = " ".join(part for part in (record.distribution, record.version) if part)
    return record.name, state, ", ".join(record.features) or "-", origin or "-"


def _details(record: ConnectorRecord) -> dict[str, Any]:
    details: dict[str, Any] = {
        **record.to_dict(),
        "description": record.description,
        "entry_point": record.entry_point,
    }
    manifest = record.manifest
    if manifest is not None:
        details |= {
            "credentials": [field.key for field in manifest.credentials],
            "settings": [field.key for field in manifest.settings],
            "commands": [command.name for command in manifest.commands],
            "hosts": list(manifest.hosts),
            "documentation_url": manifest.documentation_url,
        }
    return details


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "severity": finding.severity,
        "stage": finding.stage,
        "message": finding.message,
        "remedy": finding.remedy,
    }


def _tell_finding(finding: Finding, prefix: str = "", *, err: bool = False) -> None:
    severity = click.style(str(finding.severity), fg=SEVERITY_COLOURS[finding.severity])
    click.echo(f"{severity}: {prefix}{finding.message}", err=err)
    if finding.remedy:
        click.echo(f"  try: {finding.remedy}", err=err)


def _shown(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)

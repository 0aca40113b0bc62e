"""The command line. Commands load when they are used, so that `--version` and `--help` cost next to nothing."""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from peft_studio import __version__

if TYPE_CHECKING:
    from peft_studio.errors import PeftStudioError
    from peft_studio.registry import ConnectorRegistry

#: name -> (module, one line of help). Everything else of a command is in its module.
COMMANDS = {
    "run": ("run", "Fine-tune an adapter as a config file says."),
    "jobs": ("jobs", "List, follow, stop and resume jobs; bring adapters home."),
    "runs": ("runs", "List, show and compare the runs that a tracker has."),
    "queue": ("queue", "Show, carry out and drop what waits for a platform."),
    "push": ("push", "Publish an adapter, or a job's, in a registry."),
    "pull": ("push", "Bring a model or adapter home from a registry."),
    "models": ("models", "Search, show, pull and push models of registries."),
    "reconcile": ("reconcile", "What lives on each account, whose it is, what it costs; end orphans."),
    "connectors": ("connectors", "List, check and install connectors; decide who may be imported."),
    "auth": ("auth", "Store, show and remove the credentials of connectors."),
    "health": ("health", "Ask platforms whether they are there and know us."),
    "sandbox": ("sandbox", "Serve fake platforms on this machine: no account, no bill."),
}

#: What an exit code means; `docs/reference/cli.md` shows the table.
EXIT_CODES = {
    0: "done",
    1: "an error that has no code of its own",
    2: "wrong usage of the command line",
    3: "a config, dataset or file that cannot be used",
    4: "credentials missing or refused",
    5: "the platform could not be reached",
    6: "the platform refused",
    7: "the job failed",
    8: "there is no artifact",
    9: "no such job or connector",
    10: "an installed connector is broken",
    11: "the job was paused or cancelled before it was done",
    130: "interrupted",
}
JOB_FAILED, JOB_STOPPED, INTERRUPTED = 7, 11, 130


class LazyGroup(click.Group):
    """Imports a command's module when the command is used; a plugin's when nothing of ours has the name."""

    def list_commands(self, context: click.Context) -> list[str]:
        """Our own commands, then those of plugins, as far as these can be told."""
        return [*COMMANDS, *_plugin_commands()[0]]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command, imported now; one of a plugin activates that plugin."""
        if name in COMMANDS:
            command: click.Command = getattr(import_module(f"peft_studio.cli.{COMMANDS[name][0]}"), name)
            return command
        return self._from_plugin(name)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """One line each, from the tables: nothing is imported for the help."""
        rows = [(name, line) for name, (_, line) in COMMANDS.items()]
        with formatter.section("Commands"):
            formatter.write_dl([*rows, *_plugin_commands()[0].items()])

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """What keeps the commands of plugins from being shown: last, where it is seen."""
        super().format_epilog(context, formatter)
        error = _plugin_commands()[1]
        if error is not None:
            formatter.write_paragraph()
            formatter.write("\n".join(_sentences(error)) + "\n")

    def resolve_command(
        self, context: click.Context, arguments: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but an unknown command is told what might have been meant."""
        name = arguments[0]
        if self.get_command(context, name) is None:
            context.fail(_unknown(name, self.list_commands(context)))
        return super().resolve_command(context, arguments)

    def _from_plugin(self, name: str) -> click.Command | None:
        for plugin, command in _registry().commands():
            if command.name == name:
                for outcome in _registry().ask("peft_studio_cli", only=plugin, group=self):
                    if outcome.error is not None:
                        raise outcome.error
        return self.commands.get(name)


@cache
def _registry() -> ConnectorRegistry:
    """One scan of the installed plugins per process."""
    from peft_studio.registry import ConnectorRegistry

    return ConnectorRegistry()


def _plugin_commands() -> tuple[dict[str, str], PeftStudioError | None]:
    """Commands that installed plugins announce in their connector.json, with their help; imports no plugin.

    A settings.toml that cannot be read takes only these away, with the error that says so.
    """
    from peft_studio.errors import PeftStudioError

    try:
        announced = _registry().commands()
    except PeftStudioError as error:
        return {}, error
    return {command.name: command.help for _, command in announced if command.name not in COMMANDS}, None


def _unknown(name: str, known: list[str]) -> str:
    from difflib import get_close_matches

    if name in ("demo", "chat"):
        return f"{name!r} comes with the local connector: pip install 'peft-studio[local]'"
    near = get_close_matches(name, known, n=1)
    return f"no such command {name!r}" + (f"; did you mean {near[0]!r}?" if near else "")


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="peft-studio")
def root() -> None:
    """Fine-tune an adapter anywhere, through one interface."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with one of `EXIT_CODES`."""
    try:
        code: Any = root.main(arguments, prog_name="peft-studio", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001 -- told in a sentence where it is ours, raised again where it is not
        code = _report(error)
    sys.exit(code)


def _report(error: Exception) -> int:
    """Tell one of our errors in a sentence and its remedy; anything else is a bug of ours and keeps its traceback."""
    from peft_studio.errors import PeftStudioError

    if not isinstance(error, PeftStudioError):
        raise error
    for line in _sentences(error):
        click.echo(line, err=True)
    return error.exit_code


def _sentences(error: PeftStudioError) -> list[str]:
    from peft_studio.redaction import mask

    remedy = [f"  try: {mask(error.remedy)}"] if error.remedy else []
    return [f"{click.style('Error:', fg='red')} {mask(str(error))}", *remedy]

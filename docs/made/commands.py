"""The command line: exit codes, and the help of every command of core."""

from __future__ import annotations

from collections.abc import Callable

import click

from peft_studio.cli import COMMANDS, EXIT_CODES, root


def parts() -> dict[str, Callable[[], str]]:
    """The table of exit codes, and all commands."""
    return {"exit codes": _exit_codes, "commands": _commands}


def _exit_codes() -> str:
    rows = [f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()]
    return "\n".join(["| code | meaning |", "|---|---|", *rows, ""])


def _commands() -> str:
    context = click.Context(root, info_name="peft-studio")
    found = [root.get_command(context, name) for name in COMMANDS]
    return "\n".join(_help(command, context) for command in found if command is not None)


def _help(command: click.Command, parent: click.Context) -> str:
    context = click.Context(command, info_name=command.name, parent=parent, max_content_width=100)
    if isinstance(command, click.Group):
        found = [command.get_command(context, name) for name in command.list_commands(context)]
        return "\n".join(_help(each, context) for each in found if each is not None)
    return f"## `{context.command_path}`\n\n```text\n{command.get_help(context)}\n```\n"

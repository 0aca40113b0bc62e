"""Writes the reference pages that are made from the code: `python docs/make_reference.py [--check]`."""

from __future__ import annotations

import sys
from pathlib import Path

import attrs
import click

from peft_studio import TrainingConfig
from peft_studio.cli import COMMANDS, EXIT_CODES, root

FOLDER = Path(__file__).parent / "reference"

CONFIG_HEAD = """# The config of a job

<!-- made by docs/make_reference.py from the code; do not edit -->

A config is a `.toml`, `.yaml` or `.json` file of the fields below, or a `TrainingConfig` in Python. Relative paths in a
file start at the file's own folder. On the command line `--set NAME=VALUE` overrides a field.

| field | default | meaning |
|---|---|---|
"""

CLI_HEAD = """# The command line

<!-- made by docs/make_reference.py from the code; do not edit -->

Results go to stdout, everything else to stderr. Every command that reads has `--json`: times are ISO 8601 in UTC, money
is a string (US dollars), unknown is `null`.

Completion: `eval "$(_PEFT_STUDIO_COMPLETE=bash_source peft-studio)"` in your shell's start-up file (`zsh_source` and
`fish_source` for those shells).

## Exit codes

| code | meaning |
|---|---|
"""


def config_page() -> str:
    """Every field of `TrainingConfig`."""
    rows = [f"| `{field.name}` | {_default(field)} | {_meaning(field)} |" for field in attrs.fields(TrainingConfig)]
    return CONFIG_HEAD + "\n".join(rows) + "\n"


def cli_page() -> str:
    """Exit codes and the help of every command of core."""
    codes = "\n".join(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    context = click.Context(root, info_name="peft-studio")
    commands = [root.get_command(context, name) for name in COMMANDS]
    return CLI_HEAD + codes + "\n" + "".join(_help(command, context) for command in commands if command is not None)


def _help(command: click.Command, parent: click.Context) -> str:
    context = click.Context(command, info_name=command.name, parent=parent, max_content_width=100)
    if isinstance(command, click.Group):
        return "".join(_help(command.commands[name], context) for name in command.commands)
    return f"\n## `{context.command_path}`\n\n```text\n{command.get_help(context)}\n```\n"


def _default(field: attrs.Attribute[object]) -> str:
    if field.default is attrs.NOTHING:
        return "required"
    if field.default is None:
        return "unset"
    if field.name == "alpha":
        return "2 × rank"
    value = str(field.default).lower() if isinstance(field.default, bool) else field.default
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def _meaning(field: attrs.Attribute[object]) -> str:
    options = field.metadata["options"]
    return field.metadata["help"] + (f": {', '.join(f'`{option}`' for option in options)}" if options else "")


def main() -> int:
    """Write the pages, or with --check only say which of them are out of date."""
    pages = {FOLDER / "config.md": config_page(), FOLDER / "cli.md": cli_page()}
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv:
        for path in stale:
            sys.stderr.write(f"{path} is out of date: run python docs/make_reference.py\n")
        return bool(stale)
    for path in stale:
        path.write_text(pages[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`peft-studio connectors new`: the first minute of a connector."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from peft_studio.records import FEATURES


@click.command()
@click.argument("name")
@click.option(
    "--feature",
    "features",
    type=click.Choice(FEATURES),
    multiple=True,
    help="What the platform does; may be given several times.  [default: training]",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write.  [default: peft-studio-NAME]")
@click.option("--display-name", metavar="TEXT", help="The platform's name as it writes it.  [default: from NAME]")
@click.option("--author", metavar="TEXT", help="Who holds the copyright.")
def new(name: str, features: tuple[str, ...], out: Path | None, display_name: str | None, author: str | None) -> None:
    """Write the distribution of a new connector NAME: code, fake platform, tests, CI."""
    from peft_studio_testkit.scaffold.render import render

    destination = out or Path(f"peft-studio-{name}")
    written = render(name, destination, features=features or ("training",), display_name=display_name, author=author)
    root = destination.expanduser().absolute()
    for path in written:
        click.echo(os.path.join(destination, path.relative_to(root)))  # noqa: PTH118 -- keeps a leading ./ or ~
    click.echo("\nit speaks to a made-up platform and passes its own tests; make it yours, file by file:", err=True)
    for line in (
        f"cd {shlex.quote(str(destination))}",
        "pip install -e . --group test",
        "pytest",
        f"peft-studio sandbox start {name}",
    ):
        click.echo(f"  {line}", err=True)

"""`peft-studio sandbox`: fake platforms on this machine, to try a connector without an account and a bill."""

from __future__ import annotations

import shlex
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import click
from attrs import frozen

from peft_studio.cli._testkit import testkit
from peft_studio.cli.connectors import name_argument
from peft_studio.cli.desk import Desk
from peft_studio.cli.output import json_option, print_json, print_table
from peft_studio.errors import ConnectorNotFound, UnsupportedCapability
from peft_studio.ledger import Ledger
from peft_studio.manifest import Credential, Setting
from peft_studio.registry import ConnectorRegistry


@click.group()
def sandbox() -> None:
    """Serve fake platforms on this machine: no account, no bill."""


@sandbox.command("list")
@json_option
def list_sandboxes(as_json: bool) -> None:
    """The sandboxes of installed connectors. Imports none of them."""
    rows = [
        {"name": name, "distribution": plugin.distribution, "version": plugin.version, "entry_point": plugin.value}
        for name, plugins in testkit("sandbox.find.sandbox_plugins")().items()
        for plugin in plugins
    ]
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo("no installed connector ships a sandbox", err=True)
    else:
        table = [(row["name"], f"{row['distribution']} {row['version']}", row["entry_point"]) for row in rows]
        print_table(("NAME", "DISTRIBUTION", "ENTRY POINT"), table)


@sandbox.command()
@name_argument
@click.option("--port", metavar="N", type=click.IntRange(0, 65535), default=0, help="Port.  [default: a free one]")
@click.option(
    "--speed", metavar="X", type=click.FloatRange(min=0), default=10.0, show_default=True,
    help="How many times as fast as real time its jobs go; they only pretend.",
)  # fmt: skip
@click.option(
    "--worker/--no-worker", default=False, help="Really train on this machine, or pretend.  [default: pretend]"
)
@click.option("--quiet", is_flag=True, help="Do not show the requests that arrive.")
@json_option
def start(name: str, port: int, speed: float, worker: bool, quiet: bool, as_json: bool) -> None:
    """Serve the sandbox of a connector until Ctrl-C, and say how to point programs at it."""
    platform = _served(name)(port=port, speed=speed, worker=worker)
    if not quiet:
        platform.on_answer = _tell_request
    try:
        with _stopped_by_signals(), platform:
            guide = Guide.to(name, platform)
            if as_json:
                print_json(guide.as_dict())
            else:
                click.echo(guide.text())
            threading.Event().wait()
    except KeyboardInterrupt:
        click.echo("stopped", err=True)


@contextmanager
def trial(name: str) -> Iterator[Desk]:
    """The connector `name` at its sandbox, where jobs really run; with a ledger that is thrown away."""
    registry = ConnectorRegistry()  # the user's policy, before a sandbox moves the home
    kind = testkit("sandbox.find.find_sandbox")(name)
    is_served = issubclass(kind, testkit("sandbox.http.HttpSandbox"))
    with (
        TemporaryDirectory(prefix="peft-studio-") as folder,
        Ledger(Path(folder) / "ledger.sqlite3") as ledger,
        _stopped_by_signals(),
        kind(worker=True) if is_served else kind() as platform,
    ):
        yield Desk(ledger, registry, {name: platform.credentials()}, is_throwaway=True)


@frozen
class Guide:
    """How to point programs at a sandbox that is running."""

    name: str
    url: str
    credentials: Mapping[str, str]
    #: Those of the credentials that connector.json gives an environment variable.
    variables: Mapping[str, str]
    #: For the platform's own client.
    environment: Mapping[str, str]

    @classmethod
    def to(cls, name: str, platform: Any) -> Guide:
        """What the connector's connector.json says of the credentials of `platform`."""
        credentials = platform.credentials()
        names = _variable_names(name)
        variables = {names[key]: value for key, value in credentials.items() if key in names}
        return cls(name, platform.url, credentials, variables, platform.environment())

    def text(self) -> str:
        """Lines to paste into another shell."""
        lines = [
            f"the sandbox of {self.name} is at {self.url} (Ctrl-C stops it)",
            "",
            "the connector, in another shell:",
        ]
        lines += _exports(self.variables)
        if len(self.variables) == len(self.credentials):
            lines += [f"  peft-studio run job.toml --on {self.name}"]
        else:
            lines += [f"  await manager.connect({self.name!r}, {dict(self.credentials)!r})"]
        if self.environment:
            lines += ["", "the platform's own client:", *_exports(self.environment)]
        return "\n".join([*lines, ""])

    def as_dict(self) -> dict[str, Any]:
        """The shape that `sandbox start --json` promises."""
        return {
            "name": self.name,
            "url": self.url,
            "credentials": dict(self.credentials),
            "variables": dict(self.variables),
            "environment": dict(self.environment),
        }


def _served(name: str) -> Any:
    """The sandbox class of a connector. Raises `UnsupportedCapability` for one that has no server."""
    kind = testkit("sandbox.find.find_sandbox")(name)
    if not issubclass(kind, testkit("sandbox.http.HttpSandbox")):
        remedy = f"peft-studio run CONFIG --on {name} --sandbox"
        raise UnsupportedCapability(f"the sandbox of {name} has no server: it is this machine", remedy=remedy)
    return kind


def _variable_names(name: str) -> dict[str, str]:
    try:
        manifest = ConnectorRegistry().describe(name).manifest
    except ConnectorNotFound:  # its sandbox is installed alone
        return {}
    fields: list[Credential | Setting] = [] if manifest is None else [*manifest.credentials, *manifest.settings]
    return {field.key: field.env for field in fields if field.env}


def _exports(variables: Mapping[str, str]) -> list[str]:
    return [f"  export {name}={shlex.quote(value)}" for name, value in variables.items()]


def _tell_request(received: Any) -> None:
    answer = "no answer" if received.status is None else received.status
    fault = f"  ({received.fault})" if received.fault else ""
    click.echo(f"{received.method} {received.path} {answer}{fault}", err=True)


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """SIGTERM ends what Ctrl-C ends: processes that a sandbox started are never left behind."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

"""`peft-studio connectors check NAME --full`: the checks for a person, with progress and a verdict."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import click

from peft_studio import ConnectorRegistry
from peft_studio_testkit.compliance import Outcome, Report, Result, Runner, Subject
from peft_studio_testkit.sandbox import find_sandbox

#: Exit code for a connector that is not as it should be.
NOT_COMPLIANT = 10


def check_fully(name: str, *, as_json: bool = False, report: Path | None = None, level: int | None = None) -> int:
    """Run every check on an installed connector; returns the exit code. `report` gets compliance.json."""
    connector = ConnectorRegistry().activate(name)
    sandbox = find_sandbox(name)()
    with sandbox:
        runner = Runner(Subject(connector, sandbox, level=level))
        done = runner.run(None if as_json else _teller(len(runner.checks)))
    if report is not None:
        done.write(report)
    if as_json:
        click.echo(json.dumps(done.to_dict(), indent=2, ensure_ascii=False))
    else:
        _tell(done, report)
    return 0 if done.is_compliant else NOT_COMPLIANT


def _teller(total: int) -> Callable[[Result], None]:
    """Tells failures as they come, and on a terminal how far it is."""
    done = 0

    def tell(result: Result) -> None:
        nonlocal done
        done += 1
        is_terminal = sys.stderr.isatty()
        if is_terminal:
            click.echo("\r\033[K", nl=False, err=True)
        if result.outcome is Outcome.FAILED:
            click.echo(f"{click.style('failed', fg='red')} {result.check.id}: {result.reason}")
        if is_terminal and done < total:
            click.echo(f"{done}/{total} {result.check.group}", nl=False, err=True)

    return tell


def _tell(report: Report, file: Path | None) -> None:
    for result in report.of(Outcome.XFAILED):
        click.echo(f"{click.style('expected', fg='yellow')} {result.check.id}: {result.reason}")
    numbers = ", ".join(f"{len(report.of(outcome))} {outcome}" for outcome in Outcome if report.of(outcome))
    verdict = click.style("ok", fg="green") if report.is_compliant else click.style("not compliant", fg="red")
    click.echo(f"{verdict} {report.connector} level {report.level}: {numbers}")
    if file is not None:
        click.echo(f"report: {file}", err=True)

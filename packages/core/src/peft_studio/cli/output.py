"""How results are written: JSON for programs, aligned columns for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from peft_studio.models import JobStatus

#: By the words of `JobStatus`.
_COLOURS = {"running": "cyan", "completed": "green", "failed": "red", "paused": "yellow", "cancelled": "yellow"}

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(value: Any) -> None:
    """One JSON document on stdout: times ISO 8601 in UTC, money as strings, unknown as null."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def print_json_line(value: Any) -> None:
    """One JSON object on one line."""
    click.echo(json.dumps(value, ensure_ascii=False, default=_plain))


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as they need to be; colour codes do not count."""
    table = [headings, *rows]
    widths = [max(len(click.unstyle(row[column])) for row in table) for column in range(len(headings))]
    for number, row in enumerate(table):
        cells = [cell + " " * (width - len(click.unstyle(cell))) for cell, width in zip(row, widths, strict=True)]
        line = "  ".join(cells).rstrip()
        click.echo(click.style(line, dim=True) if number == 0 else line)


def stamp(time: datetime) -> str:
    """ISO 8601 in UTC, to the second."""
    return time.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def coloured(status: JobStatus | None) -> str:
    """A status for people; unknown is a dash."""
    return "-" if status is None else click.style(status.value, fg=_COLOURS.get(status.value))


def ago(time: datetime) -> str:
    """How long ago, in the largest unit."""
    from peft_studio.lines import short_duration

    return f"{short_duration((datetime.now(UTC) - time).total_seconds())} ago"


def dollars(amount: Decimal | None) -> str:
    """An amount of US dollars for people; unknown is a dash."""
    if amount is None:
        return "-"
    return f"${amount:.4f}" if Decimal(0) < amount < Decimal("0.01") else f"${amount:.2f}"


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return stamp(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal | Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")

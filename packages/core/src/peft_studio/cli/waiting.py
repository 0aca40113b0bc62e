"""A line on the terminal while an answer takes long."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from typing import TypeVar

import click

Result = TypeVar("Result")


async def waited_for(work: Awaitable[Result], what: str) -> Result:
    """The result of `work`; from its second second on a terminal shows what it is and how long it has taken."""
    task = asyncio.ensure_future(work)
    seconds = 0
    try:
        while not (await asyncio.wait({task}, timeout=1.0))[0]:
            seconds += 1
            _show(f"{what}… {seconds} s")
        return task.result()
    finally:
        task.cancel()
        if seconds:
            _show("")


def _show(line: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{line}", nl=False, err=True)

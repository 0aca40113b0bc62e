"""A line on the terminal while an answer takes long."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable
from typing import TypeVar

import click

Result = TypeVar("Result")


async def waited_for(work: Awaitable[Result], what: str, *, every: float = 1.0) -> Result:
    """The result of `work`; once a second a terminal shows what it is and how long it has taken."""
    task = asyncio.ensure_future(work)
    begun, is_shown = time.monotonic(), False
    try:
        while not (await asyncio.wait({task}, timeout=every))[0]:
            is_shown = True
            _show(f"{what}… {time.monotonic() - begun:.0f} s")
        return task.result()
    finally:
        task.cancel()
        if is_shown:
            _show("")


def _show(line: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{line}", nl=False, err=True)

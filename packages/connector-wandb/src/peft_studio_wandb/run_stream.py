"""The file stream of runs: sends what a journal holds, piece by piece, until W&B has confirmed it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from attrs import define, field

from peft_studio_wandb.api import WandbApi
from peft_studio_wandb.journal import Journal, as_line
from peft_studio_wandb.paths import RunPath

HISTORY: Final = "wandb-history.jsonl"
CONSOLE: Final = "output.log"
SUMMARY: Final = "wandb-summary.json"


@define
class RunStream:
    """One run that this process writes to, one request at a time."""

    api: WandbApi
    run: RunPath
    journal: Journal
    #: Somebody has pressed Stop.
    is_stopped: bool = False
    _lock: asyncio.Lock = field(factory=asyncio.Lock)

    async def flush(self) -> None:
        """Send what is not confirmed. Raises `ConnectionFailed`; it then goes out with the next flush."""
        async with self._lock:
            while not (self.journal.rows.is_confirmed and self.journal.console.is_confirmed):
                await self._send_part()

    async def _send_part(self) -> None:
        rows, lines = self.journal.rows.part(), self.journal.console.part()
        files = {HISTORY: rows, CONSOLE: lines}
        body = {name: at(*part) for name, part in files.items() if part is not None}
        if rows is not None:
            body[SUMMARY] = at(0, [as_line(self.journal.summary)])
        stopped = await self.api.stream(self.run, {"files": body})
        self.is_stopped = self.is_stopped or stopped
        if rows is not None:
            self.journal.rows.confirm(rows)
        if lines is not None:
            self.journal.console.confirm(lines)


def at(offset: int, lines: Sequence[str]) -> Mapping[str, Any]:
    """Lines of a file from an offset on."""
    return {"offset": offset, "content": list(lines)}

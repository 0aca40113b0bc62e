"""How the trainer tells what happens: one JSON object per line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any, Protocol

from attrs import frozen


class Report(Protocol):
    """Takes one event: its type and its fields, see docs/reference/events.md."""

    def __call__(self, kind: str, /, **fields: Any) -> None: ...


@frozen
class StreamReport:
    """Writes each event as one line to a file descriptor, in one `write`, so that lines of threads never mix."""

    descriptor: int
    on_lost_reader: Callable[[], object]

    def __call__(self, kind: str, /, **fields: Any) -> None:
        line = json.dumps({"type": kind, **fields}, ensure_ascii=False, allow_nan=False) + "\n"
        rest = line.encode()
        try:
            while rest:
                rest = rest[os.write(self.descriptor, rest) :]
        except BrokenPipeError:
            self.on_lost_reader()


def say(report: Report, message: str, *, level: str = "info") -> None:
    """Report a sentence for the log."""
    report("log", level=level, message=message, source="trainer")

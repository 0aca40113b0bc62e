"""What this process has written to a run: lines at offsets, and which of them W&B has not confirmed.

A line gets its offset once. It is sent again, as it is and where it was, until W&B has said yes: so nothing is there
twice, and what failed goes out with whatever is written next. All metrics of a step are one line.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from attrs import define, field

from peft_studio import InvalidConfig

#: W&B's limit for a line is 10 MiB less 100 KiB; longer ones are lost without an error.
LONGEST_LINE: Final = 10 * 2**20 - 100 * 2**10
#: Of the lines of one request, bytes: well below what W&B takes.
LARGEST_PART: Final = 4 * 2**20
_LINE_BREAK: Final = re.compile(r"\r\n|\r|\n")


@define
class Lines:
    """An append-only file of a run."""

    #: The offset of the next line.
    end: int
    _unsent: dict[int, str] = field(factory=dict)

    def put(self, offset: int, line: str) -> None:
        """Write, or write anew, the line at an offset."""
        if len(line.encode()) > LONGEST_LINE:
            raise InvalidConfig("a line is longer than W&B keeps", remedy="log less than 9 MiB at once")
        self._unsent[offset] = line
        self.end = max(self.end, offset + 1)

    @property
    def is_confirmed(self) -> bool:
        """True when W&B has all of it."""
        return not self._unsent

    def part(self) -> tuple[int, list[str]] | None:
        """The first unconfirmed lines that stand together, as many as fit into a request."""
        if not self._unsent:
            return None
        first = min(self._unsent)
        return first, list(_fitting(self._unsent, first))

    def confirm(self, part: tuple[int, list[str]]) -> None:
        """W&B has them; a line that was written anew while they were under way is still to be sent."""
        for offset, line in enumerate(part[1], start=part[0]):
            if self._unsent[offset] == line:
                del self._unsent[offset]


@define
class Journal:
    """One run."""

    rows: Lines
    console: Lines
    #: The last value of each metric.
    summary: dict[str, Any] = field(factory=dict)
    #: Offset and content of the row of each step.
    _steps: dict[int, tuple[int, dict[str, Any]]] = field(factory=dict)
    _last_text: str | None = None

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Put metrics into the row of their step; the same ones again change nothing."""
        offset, row = self._steps.get(step, (self.rows.end, {"_step": step, "_timestamp": time.time()}))
        row = {**row, **checked(metrics)}
        self.rows.put(offset, as_line(row))
        self._steps[step] = (offset, row)
        self.summary |= {**row, "_step": max(step, self.summary.get("_step", step))}

    def write(self, text: str) -> None:
        """Put text on the console. The same text again, while W&B has not confirmed it, is a repetition."""
        if text == self._last_text and not self.console.is_confirmed:
            return
        self._last_text = text
        for line in console_lines(text, datetime.now(UTC)):
            self.console.put(self.console.end, line)


def checked(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics under names that are not W&B's own. Raises `InvalidConfig`."""
    own = [name for name in metrics if name.startswith("_")]
    if own:
        raise InvalidConfig(f"the metric {own[0]} has a name that W&B keeps for itself", remedy="start with a letter")
    return dict(metrics)


def as_line(row: Mapping[str, Any]) -> str:
    """One line of JSON; NaN and infinity stand in it as they are, which W&B reads. Raises `InvalidConfig`."""
    try:
        return json.dumps(row, ensure_ascii=False)
    except (TypeError, ValueError) as error:
        raise InvalidConfig("metrics are numbers, texts, lists or objects of them", why=str(error)) from error


def console_lines(text: str, time: datetime, *, is_error: bool = False) -> list[str]:
    """Lines of the console as W&B keeps them: `[ERROR ]<time, UTC> text`."""
    start = "ERROR " if is_error else ""
    written = time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    text = text.encode(errors="replace").decode()  # half of a pair cannot be sent
    return [f"{start}{written} {line}" for line in _LINE_BREAK.split(text)]


def _fitting(lines: Mapping[int, str], first: int) -> Iterator[str]:
    size, offset = 0, first
    while offset in lines:
        size += len(lines[offset].encode())
        if size > LARGEST_PART and offset > first:
            return
        yield lines[offset]
        offset += 1

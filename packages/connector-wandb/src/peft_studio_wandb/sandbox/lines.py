"""A run's append-only files: lines at the index where the client put them.

Whoever sends the same lines at the same offset again changes nothing, and that is all that makes a replay safe. What
replaced another line is noted, so that a test can tell a replay from a client that lost count.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from attrs import define, field


@define
class Lines:
    """Lines by index."""

    _lines: dict[int, tuple[str, float]] = field(factory=dict)
    #: Indices at which a line was replaced by another one.
    replaced: list[int] = field(factory=list)
    # A long run is read page by page, and each page looks at all of it.
    _numbered: list[tuple[int, str]] | None = None
    _rows: list[dict[str, Any]] | None = None
    _by_step: list[tuple[dict[str, Any], str]] | None = None

    def write(self, offset: int, content: Sequence[str], now: float) -> None:
        """Put lines at an offset and those after it."""
        self._numbered = self._rows = self._by_step = None
        for index, text in enumerate(content, start=offset):
            known = self._lines.get(index)
            if known is not None and known[0] == text:
                continue
            if known is not None:
                self.replaced.append(index)
            self._lines[index] = (text, now)

    def __len__(self) -> int:
        return max(self._lines, default=-1) + 1

    def count(self, until: float) -> int:
        """How long it was at that moment."""
        return max((index for index, (_, at) in self._lines.items() if at <= until), default=-1) + 1

    @property
    def numbered(self) -> list[tuple[int, str]]:
        """Index and line, in order."""
        if self._numbered is None:
            self._numbered = [(index, self._lines[index][0]) for index in sorted(self._lines)]
        return self._numbered

    @property
    def texts(self) -> list[str]:
        """All lines in order."""
        return [text for _, text in self.numbered]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All lines as the JSON documents that they are."""
        if self._rows is None:
            self._rows = [json.loads(text) for _, text in self.numbered]
        return self._rows

    @property
    def by_step(self) -> list[tuple[dict[str, Any], str]]:
        """Rows and their texts by `_step`; of two rows of one step the later line counts."""
        if self._by_step is None:
            latest = {row["_step"]: (row, text) for row, text in zip(self.rows, self.texts, strict=True)}
            self._by_step = [latest[step] for step in sorted(latest)]
        return self._by_step

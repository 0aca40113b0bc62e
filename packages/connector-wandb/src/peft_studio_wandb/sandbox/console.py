"""Console lines: `[ERROR ]<time> text` as they are sent, and their parts as they are read back."""

from __future__ import annotations

import re
from typing import Any, Final

_LINE: Final = re.compile(
    r"(?P<level>ERROR )?(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?) (?:\[(?P<label>[^\]]*)\] )?"
)


def parse(text: str) -> dict[str, Any]:
    """The parts of a line; one without a time is all text."""
    match = _LINE.match(text)
    if match is None:
        return {"timestamp": None, "level": None, "label": "", "line": text}
    level = "error" if match["level"] else None
    return {"timestamp": match["time"], "level": level, "label": match["label"] or "", "line": text[match.end() :]}

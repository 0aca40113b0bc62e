"""The platform's clock as the dates that it writes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

#: Where the clock starts. In the past for good: clients stop reading a log at lines that are younger than the `Date` of
#: the answer, which is real.
START: Final = datetime(2026, 1, 1, tzinfo=UTC)


def date_text(seconds: float) -> str:
    """A moment of the clock as the Hub writes it, in milliseconds."""
    moment = START + timedelta(seconds=seconds)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def unix_time(seconds: float) -> int:
    """A moment of the clock as git writes it."""
    return int(START.timestamp() + seconds)

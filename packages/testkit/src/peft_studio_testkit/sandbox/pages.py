"""Lists that come in pages, with a cursor that says nothing to the client."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Generic, TypeVar

from attrs import frozen
from starlette.exceptions import HTTPException

Item = TypeVar("Item")


@frozen
class Page(Generic[Item]):
    """Some of the items, and the cursor of the next page; None on the last one."""

    items: list[Item]
    next_cursor: str | None


def paginate(items: Sequence[Item], cursor: str | None, size: int) -> Page[Item]:
    """The page that `cursor` stands for; the first without one. A cursor that was never given out is answered 400."""
    start = 0 if not cursor else _place(cursor)
    end = start + size
    return Page(list(items[start:end]), _cursor(end) if end < len(items) else None)


def _cursor(place: int) -> str:
    return base64.urlsafe_b64encode(f"from:{place}".encode()).decode().rstrip("=")


def _place(cursor: str) -> int:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        return int(text.removeprefix("from:"))
    except ValueError as error:
        raise HTTPException(400, "this cursor was never given out") from error

"""Lists as GraphQL tells them: edges, each with the cursor of what comes after it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from peft_studio_wandb.sandbox.problems import Refusal

Item = TypeVar("Item")


def connection(
    items: Sequence[Item],
    show: Callable[[Item], Any],
    first: int | None,
    after: str | None,
    **edge: Callable[[Item], Any],
) -> dict[str, Any]:
    """A page of the items; `edge` are more fields of each edge."""
    start = _place(after) if after else 0
    page = items[start : start + (first or 50)]
    edges = [
        {"node": show(item), "cursor": _cursor(place), **{name: tell(item) for name, tell in edge.items()}}
        for place, item in enumerate(page, start=start + 1)
    ]
    end = start + len(page)
    info = {"endCursor": _cursor(end) if page else None, "hasNextPage": end < len(items)}
    return {"edges": edges, "pageInfo": info, "totalCount": len(items)}


def _cursor(place: int) -> str:
    return base64.b64encode(f"cursor:{place}".encode()).decode()


def _place(cursor: str) -> int:
    try:
        return int(base64.b64decode(cursor, validate=True).decode().removeprefix("cursor:"))
    except (ValueError, binascii.Error) as error:
        raise Refusal(400, f"invalid cursor: {cursor}") from error

"""Lists as GraphQL tells them: edges, and a cursor for what comes after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from peft_studio_testkit.sandbox.pages import paginate

Item = TypeVar("Item")


def connection(
    items: Sequence[Item],
    show: Callable[[Item], Any],
    first: int | None,
    after: str | None,
    **edge: Callable[[Item], Any],
) -> dict[str, Any]:
    """A page of the items; `edge` are more fields of each edge."""
    page = paginate(items, after, first or 50)
    edges = [
        {"node": show(item), "cursor": "", **{name: tell(item) for name, tell in edge.items()}} for item in page.items
    ]  # fmt: skip
    info = {"endCursor": page.next_cursor, "hasNextPage": page.next_cursor is not None}
    return {"edges": edges, "pageInfo": info, "totalCount": len(items)}

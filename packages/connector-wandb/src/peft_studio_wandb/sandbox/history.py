"""Reading metric rows back: windows of steps, samples, and which keys there are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")


def is_within(row: dict[str, Any], first: int | None, end: int | None) -> bool:
    """Whether the `_step` of a row is in [first, end)."""
    return (first is None or row["_step"] >= first) and (end is None or row["_step"] < end)


def sample(items: Sequence[Item], size: int) -> list[Item]:
    """At most so many, evenly spread, the first and the last among them."""
    if len(items) <= size:
        return list(items)
    if size <= 1:
        return list(items[:size])
    return [items[place * (len(items) - 1) // (size - 1)] for place in range(size)]


def sampled_keys(rows: Sequence[dict[str, Any]], spec: str) -> list[dict[str, Any]]:
    """Some columns of those rows that have them all; `maxStep` is in the window, unlike elsewhere."""
    wanted = json.loads(spec)
    last = wanted.get("maxStep")
    end = None if last is None else last + 1
    chosen = [row for row in rows if is_within(row, wanted.get("minStep"), end)]
    keys = list(dict.fromkeys(wanted["keys"]))
    full = [{key: row[key] for key in keys} for row in chosen if all(key in row for key in keys)]
    return sample(full, wanted.get("samples", 500))


def keys_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What is in the rows: keys with counts and kinds, and the last step."""
    found: dict[str, list[Any]] = {}
    for row in rows:
        for key, value in row.items():
            found.setdefault(key, []).append(value)
    keys = {
        key: {
            "typeCounts": [{"type": _kind(values[-1]), "count": len(values)}],
            "monotonic": key in ("_step", "_timestamp", "_runtime"),
            "previousValue": values[-1],
        }
        for key, values in found.items()
    }
    last = max((row["_step"] for row in rows), default=-1)
    return {"keys": keys, "sets": [{"keys": sorted(found), "typeCounts": []}] if found else [], "lastStep": last}


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, dict):
        return "map"
    return "string" if isinstance(value, str) else "list" if isinstance(value, list) else "nil"

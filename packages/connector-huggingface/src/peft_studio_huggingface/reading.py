"""Values out of answers: what is of another type is not known, and an answer of another shape is an error."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from peft_studio import ConnectionFailed


def text(value: Any) -> str | None:
    """A text that is not empty."""
    return value if isinstance(value, str) and value else None


def texts(value: Any) -> tuple[str, ...]:
    """Those of a list; one text is a list of one."""
    every = value if isinstance(value, list) else [value]
    return tuple(each for each in every if isinstance(each, str) and each)


def whole(value: Any) -> int | None:
    """A whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def moment(value: Any) -> datetime | None:
    """A time; one without a zone is UTC."""
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def mapping(value: Any) -> Mapping[str, Any]:
    """A JSON object; nothing for anything else."""
    return value if isinstance(value, Mapping) else {}


def required(document: Any, name: str, what: str) -> str:
    """A text that the answer cannot do without. Raises `ConnectionFailed`."""
    found = text(mapping(document).get(name))
    if found is None:
        raise unreadable(f"{what} has no {name}")
    return found


def unreadable(why: str) -> ConnectionFailed:
    """The error for an answer that is none."""
    return ConnectionFailed("the Hub's answer cannot be read", why=why)

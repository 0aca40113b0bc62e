"""Values out of answers, leniently: what is of another type is not known, and nothing is made of it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any


def text(value: Any) -> str | None:
    """A text that is not empty."""
    return value if isinstance(value, str) and value else None


def whole(value: Any) -> int | None:
    """A whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def money(value: Any) -> Decimal | None:
    """An amount, exactly as it was written."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    amount = Decimal(str(value))
    return amount if amount.is_finite() else None


def moment(value: Any) -> datetime | None:
    """A time; one without a zone is UTC."""
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)

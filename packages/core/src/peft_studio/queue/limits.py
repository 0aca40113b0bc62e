"""When a queued submission asks again: its price has risen too far, or it has waited too long."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Self

from attrs import frozen

from peft_studio._settings import _as_seconds
from peft_studio.errors import InvalidConfig
from peft_studio.lines import short_duration
from peft_studio.models import PricingInfo
from peft_studio.policy import settings_file
from peft_studio.queue.operation import Ask

_EXAMPLES = {"max_price_change": '"10%"', "max_age": '"12h"'}


@frozen(kw_only=True)
class Limits:
    """How far a price may rise, as a share of what it was, and how old a submission may become, in seconds."""

    max_price_change: Decimal = Decimal("0.10")
    max_age: float = 12 * 3600.0

    @classmethod
    def from_settings(cls, file: Path | None = None) -> Self:
        """The [queue] table of settings.toml over the defaults. Raises `InvalidConfig`."""
        path = settings_file() if file is None else file
        return cls().changed(_queue_table(path), f"{path}: queue.")

    def changed(self, values: Mapping[str, Any], place: str = "") -> Self:
        """These limits with others laid over them, as the user writes them: "10%" and "12h"."""
        changes: dict[str, Any] = {}
        for name, value in values.items():
            if name not in _EXAMPLES:
                raise InvalidConfig(
                    f"{place}{name} is not a setting", remedy=f"the settings are {', '.join(_EXAMPLES)}"
                )
            changes[name] = _share(value) if name == "max_price_change" else _seconds(value)
            if changes[name] is None:
                raise InvalidConfig(f"{place}{name} must be like {_EXAMPLES[name]}, not {value!r}")
        return type(self)(**{"max_price_change": self.max_price_change, "max_age": self.max_age, **changes})

    def to_dict(self) -> dict[str, Any]:
        """Plain data for the queue."""
        return {"max_price_change": str(self.max_price_change), "max_age": self.max_age}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What `to_dict` wrote."""
        return cls(max_price_change=Decimal(values["max_price_change"]), max_age=values["max_age"])

    def question(
        self, payload: Mapping[str, Any], price: Mapping[str, Any] | None, age: float, now: float
    ) -> Ask | None:
        """What to ask before submitting at `price`, with an age in seconds; None when there is nothing to ask."""
        reasons = [*_about_price(payload, price, self.max_price_change), *_about_age(age, self.max_age)]
        if not reasons:
            return None
        return Ask(f"{' and '.join(reasons)}: submit it all the same?", {"price": price, "accepted": now})


def price_of(pricing: PricingInfo | None) -> dict[str, str] | None:
    """An hourly price as the queue keeps it; None when it is not known."""
    if pricing is None or pricing.hourly_rate is None:
        return None
    return {"hourly_rate": str(pricing.hourly_rate), "currency": pricing.currency}


def _about_price(payload: Mapping[str, Any], now: Mapping[str, Any] | None, limit: Decimal) -> list[str]:
    then = payload["price"]
    if then is None:
        is_bounded = now is None or not Decimal(now["hourly_rate"]) or "max_cost" in payload["config"]
        return [] if is_bounded else [f"it costs {_shown(now)}, which was not known when it was queued"]
    if now is None:
        return [f"its price, which was {_shown(then)}, cannot be told now"]
    before, after = Decimal(then["hourly_rate"]), Decimal(now["hourly_rate"])
    if then["currency"] == now["currency"] and after <= before * (1 + limit):
        return []
    return [f"its price has gone from {_shown(then)} to {_shown(now)}"]


def _about_age(age: float, limit: float) -> list[str]:
    return [f"it has waited {short_duration(age)}"] if age > limit else []


def _shown(price: Mapping[str, Any] | None) -> str:
    return "unknown" if price is None else f"{price['hourly_rate']} {price['currency']} an hour"


def _share(value: Any) -> Decimal | None:
    if not isinstance(value, str) or not re.fullmatch(r"\d+(\.\d+)?\s*%", value):
        return None
    try:
        return Decimal(value.rstrip("% ")) / 100
    except InvalidOperation:
        return None


def _seconds(value: Any) -> float | None:
    seconds = _as_seconds(value)
    return seconds if isinstance(seconds, float) and seconds > 0 else None


def _queue_table(file: Path) -> Mapping[str, Any]:
    import tomllib

    from peft_studio.policy import read_bytes

    data = read_bytes(file)
    if data is None:
        return {}
    try:
        table = tomllib.loads(data.decode("utf-8")).get("queue", {})
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidConfig(f"{file} cannot be read", why=str(error), remedy="mend the file at that place") from error
    if not isinstance(table, dict):
        raise InvalidConfig(f"{file}: queue must be a table", remedy="write [queue] on a line of its own")
    return table

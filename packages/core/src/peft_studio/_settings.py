"""Fields that know their own rules: what `TrainingConfig` is made of.

A rule is a plain function from a value to a complaint ("must be …") or None; it is kept in the field's metadata beside
the help text, so that the docs, the CLI and the checks read the same line.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

import attrs

from peft_studio.model_address import EXAMPLE, is_address

Rule = Callable[[Any], str | None]

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def text(default: Any = attrs.NOTHING, *, help: str) -> Any:
    """A string that is not empty."""
    return _field(default, help, lambda v: None if isinstance(v, str) and v.strip() else "must be a text")


def flag(default: bool, *, help: str) -> Any:
    """True or false."""
    return _field(default, help, lambda v: None if isinstance(v, bool) else "must be true or false")


def choice(options: Sequence[str], default: Any, *, help: str) -> Any:
    """One of a few words."""
    complaint = f"must be one of {', '.join(options)}"
    return _field(default, help, lambda v: None if v in options else complaint, options=tuple(options))


def integer(default: Any, *, minimum: int, help: str) -> Any:
    """A whole number of at least `minimum`."""

    def rule(value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int):
            return "must be a whole number"
        return None if value >= minimum else f"must be at least {minimum}"

    return _field(default, help, rule)


def real(
    default: Any,
    *,
    help: str,
    above: float | None = None,
    minimum: float | None = None,
    below: float | None = None,
    converter: Callable[[Any], Any] | None = None,
) -> Any:
    """A number, within limits; a whole number is fine."""

    def rule(value: Any) -> str | None:
        if not isinstance(value, float) or not math.isfinite(value):
            return "must be a number"
        if above is not None and value <= above:
            return f"must be more than {above:g}"
        if minimum is not None and value < minimum:
            return f"must be at least {minimum:g}"
        return f"must be less than {below:g}" if below is not None and value >= below else None

    return _field(default, help, rule, converter=converter or _as_float)


def duration(default: Any, *, help: str) -> Any:
    """Seconds; also written as "90m" or "1.5h"."""
    return real(default, above=0, help=help, converter=_as_seconds)


def money(default: Any, *, help: str) -> Any:
    """An exact, positive amount."""

    def rule(value: Any) -> str | None:
        if not isinstance(value, Decimal) or not value.is_finite():
            return "must be an amount such as 5.00"
        return None if value > 0 else "must be more than 0"

    return _field(default, help, rule, converter=_as_decimal)


def names(default: Any, *, help: str, words: Sequence[str] = (), single: bool = False) -> Any:
    """A list of names; `words` may stand in place of the list, and with `single` one name for a list of one."""
    expected = "must be a list of names" + "".join(f' or "{word}"' for word in words)

    def rule(value: Any) -> str | None:
        if value in words:
            return None
        is_list = isinstance(value, tuple) and all(isinstance(name, str) and name for name in value)
        return None if is_list and (value or not words) else expected

    return _field(default, help, rule, converter=_as_tuple if single else _list_as_tuple)


def addresses(default: Any, *, help: str) -> Any:
    """A list of places in registries, or one."""

    def rule(value: Any) -> str | None:
        is_list = isinstance(value, tuple) and all(isinstance(text, str) and is_address(text) for text in value)
        return None if is_list else f"must be places in registries such as {EXAMPLE}"

    return _field(default, help, rule, converter=_as_tuple)


def complaints(instance: Any) -> list[tuple[str, str]]:
    """Every broken rule of `instance`, as (field name, complaint)."""
    told = [(field.name, complaint(field, getattr(instance, field.name))) for field in attrs.fields(type(instance))]
    return [(name, message) for name, message in told if message is not None]


def complaint(field: attrs.Attribute[Any], value: Any) -> str | None:
    """What is wrong with `value` for that field, or None."""
    if value is None and field.metadata["is_optional"]:
        return None
    converter: Any = field.converter  # a plain function here; attrs' types know only its Converter class
    converted = value if converter is None else converter(value)
    broken = field.metadata["rule"](converted)
    return None if broken is None else f"{field.name} {broken}, not {_shown(value)}"


def _field(
    default: Any, help: str, rule: Rule, *, converter: Callable[[Any], Any] | None = None, options: Sequence[str] = ()
) -> Any:
    metadata = {"help": help, "rule": rule, "options": options, "is_optional": default is None}
    return attrs.field(default=default, converter=converter, metadata=metadata)


def _shown(value: Any) -> str:
    return repr(str(value)) if isinstance(value, str | Decimal) else repr(value)


def _list_as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _as_tuple(value: Any) -> Any:
    """Also of a single name, and of none."""
    if value is None or isinstance(value, str):
        return () if value is None else (value,)
    return _list_as_tuple(value)


def _as_float(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _as_seconds(value: Any) -> Any:
    if isinstance(value, str) and value[-1:] in _SECONDS:
        try:
            return float(value[:-1]) * _SECONDS[value[-1]]
        except ValueError:
            return value
    return _as_float(value)


def _as_decimal(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return value
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return value

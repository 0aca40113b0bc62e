"""Every field of a training config."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from peft_studio import TrainingConfig


def parts() -> dict[str, Callable[[], str]]:
    """One table."""
    return {"config": _fields}


def _fields() -> str:
    rows = [f"| `{field.name}` | {_default(field)} | {_meaning(field)} |" for field in attrs.fields(TrainingConfig)]
    return "\n".join(["| field | default | meaning |", "|---|---|---|", *rows, ""])


def _default(field: attrs.Attribute[object]) -> str:
    if field.default is attrs.NOTHING:
        return "required"
    if field.default is None:
        return "unset"
    if field.name == "alpha":
        return "2 × rank"
    value = str(field.default).lower() if isinstance(field.default, bool) else field.default
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def _meaning(field: attrs.Attribute[object]) -> str:
    options = field.metadata["options"]
    return field.metadata["help"] + (f": {', '.join(f'`{option}`' for option in options)}" if options else "")

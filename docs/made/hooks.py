"""Each hook as `hookspecs.py` specifies it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from made.source import described

from peft_studio import hookspecs
from peft_studio.hooks import Hooks


def parts() -> dict[str, Callable[[], str]]:
    """One part for each hook."""
    return {f"hook {name}": partial(_hook, getattr(hookspecs, name)) for name in Hooks().names}


def _hook(function: Any) -> str:
    options = getattr(function, f"{hookspecs.PROJECT_NAME}_spec")
    note = "The first answer that is not None counts, and nobody else is asked." if options["firstresult"] else ""
    return described(function) + (f"\n{note}\n" if note else "")

"""The compliance checks by level and group."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from importlib import import_module
from itertools import groupby

from peft_studio_testkit.compliance import Check, all_checks, checks


def parts() -> dict[str, Callable[[], str]]:
    """One part with everything."""
    return {"checks": _levels}


def _levels() -> str:
    levels = sorted({check.level for check in all_checks()})
    return "\n".join(_level(level, [check for check in all_checks() if check.level == level]) for level in levels)


def _level(level: int, found: list[Check]) -> str:
    groups = [_group(name, list(members)) for name, members in groupby(found, lambda check: check.group)]
    return "\n".join([f"## Level {level}\n\n{len(found)} checks.\n", *groups])


def _group(name: str, members: list[Check]) -> str:
    about = inspect.getdoc(import_module(f"{checks.__name__}.{name}")) or ""
    rows = [f"| `{check.id}` | {_whom(check)} | {_marked(check.doc)} |" for check in members]
    table = "\n".join(["| check | for | what is seen |", "|---|---|---|", *rows])
    return f"### {name.capitalize()}\n\n{about}\n\n{table}\n"


def _whom(check: Check) -> str:
    words = [*filter(None, [check.feature]), *(["HTTP"] if check.network else [])]
    return ", ".join([*words, *(f"`{method}`" for method in check.offers)]) or "all"


def _marked(text: str) -> str:
    """One line, with names as code: Markdown would take the underscores of __init__ for emphasis."""
    pieces = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(piece if piece[:1] == "`" else re.sub(r"\w*_[\w.]*\w", r"`\g<0>`", piece) for piece in pieces)

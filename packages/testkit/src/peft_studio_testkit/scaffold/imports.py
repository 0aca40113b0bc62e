"""Takes unused imports out of rendered code, so that templates import for all features without a condition on each."""

from __future__ import annotations

import ast
import re
from typing import Final

LINE_LENGTH: Final = 120


def tidy_imports(source: str) -> str:
    """`source` with only those imports at its top that it uses, laid out as the formatter does."""
    tree = ast.parse(source)
    imports = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    if not imports:
        return source
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    lines = source.splitlines(keepends=True)
    start, end = imports[0].lineno - 1, _last_line(imports[-1])
    rest = lines[end:]
    for node in reversed(imports):
        lines[node.lineno - 1 : _last_line(node)] = _statement(node, used)
    block = "".join(lines[start : len(lines) - len(rest)])
    return "".join(lines[:start]) + re.sub(r"\n{3,}", "\n\n", block).rstrip("\n") + "\n" + "".join(rest)


def _last_line(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno


def _statement(node: ast.Import | ast.ImportFrom, used: set[str]) -> list[str]:
    """The lines of one import, without what is not used; none when nothing is left."""
    is_setting = isinstance(node, ast.ImportFrom) and node.module == "__future__"
    kept = [alias.name for alias in node.names if is_setting or (alias.asname or alias.name).partition(".")[0] in used]
    kept.sort(key=_rank)
    if not kept:
        return []
    if isinstance(node, ast.Import):
        return [f"import {', '.join(kept)}\n"]
    line = f"from {node.module} import {', '.join(kept)}\n"
    if len(line) <= LINE_LENGTH + 1:
        return [line]
    return [f"from {node.module} import (\n", *(f"    {name},\n" for name in kept), ")\n"]


def _rank(name: str) -> tuple[int, str]:
    """Constants, then classes, then the rest, as isort has it."""
    kind = 0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2
    return kind, name.lower()

"""What a page shows of a function: its first line as it is written, and its docstring."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from typing import Any

#: A longer line would have to be scrolled on the page.
WIDTH = 88


def signature(function: Any) -> str:
    """The `def` line with all types, over several lines where it is long; a property says that it is one."""
    if isinstance(function, property):
        return f"@property\n{signature(function.fget)}"
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    node.decorator_list, node.body = [], [ast.Pass()]
    line = _spaced(ast.unparse(node).partition(":\n")[0])
    if len(line) <= WIDTH:
        return line
    head, _, rest = line.partition("(")
    arguments, _, answer = rest.rpartition(")")
    return f"{head}(\n    {arguments},\n){answer}"


def _spaced(line: str) -> str:
    """`after: int = 0`, as everybody writes it; ast leaves the spaces out."""
    return re.sub(r"(: [^,()=]+)=", r"\1 = ", line)


def described(function: Any, need: str = "") -> str:
    """The signature as a block of code, and the docstring below it, after a word that says whether it must be there."""
    return f"```python\n{signature(function)}\n```\n\n{need}{inspect.getdoc(function)}\n"

"""Writes `peft_studio/sync.py` from the async classes: `python packages/core/make_sync.py [--check]`.

A facade that is written by hand falls behind. This one has the signatures and docstrings of what it is made from, so
that type checkers and editors know it, and nothing happens when it is imported.
"""

# ruff: noqa: INP001 -- a program beside the package, not part of it

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

from peft_studio.jobs import Jobs
from peft_studio.manager import ConnectorManager

TARGET = Path(__file__).parent / "src/peft_studio/sync.py"
WIDTH = 120

HEAD = '''"""`SyncConnectorManager`: the manager for scripts and notebooks, where every call waits for its answer.

Made by packages/core/make_sync.py from `ConnectorManager` and `Jobs`; do not edit.
"""

from __future__ import annotations

{imports}


class SyncConnectorManager:
    """Finds connectors, holds the connections, and calls the platforms; nothing of it is awaited.

    It takes what `ConnectorManager` takes, has its methods, and runs them in an event loop of its own, in a thread: it
    works inside a running loop (a notebook), and several threads may share it. Ctrl-C cancels the call that is waited
    for. Use it as a context manager, or `close` it.
    """

{init}
        from peft_studio._loop_thread import LoopThread
        from peft_studio.manager import ConnectorManager

        self._manager = ConnectorManager(
            {arguments}
        )
        self._loop = LoopThread()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect everything and end the thread; calls that others wait for are cancelled. Again does nothing."""
        self._loop.close(self._manager.disconnect_all)

    @property
    def registry(self) -> ConnectorRegistry:
        """The connectors that this manager knows."""
        return self._manager.registry

    @property
    def hook_failures(self) -> deque[Outcome]:
        """The latest failures of plugins that only observe or lend; they stop nothing."""
        return self._manager.hook_failures

    @property
    def jobs(self) -> SyncJobs:
        """{jobs}"""
        return SyncJobs(self._manager.jobs, self._loop)

{manager}

class SyncJobs:
    """The jobs of one manager's ledger; had from `SyncConnectorManager.jobs`."""

    def __init__(self, jobs: Jobs, loop: LoopThread) -> None:
        self._jobs = jobs
        self._loop = loop

{calls}'''

#: What the text above names and the signatures may not.
NAMED = {
    "TYPE_CHECKING": "typing",
    "Self": "typing",
    "deque": "collections",
    "ConnectorRegistry": "peft_studio.registry",
    "Jobs": "peft_studio.jobs",
    "LoopThread": "peft_studio._loop_thread",
    "Outcome": "peft_studio.hooks",
}


def page() -> str:
    """The whole module."""
    made_like = vars(ConnectorManager)["__init__"]
    given = ", ".join(f"{name}={name}" if by_name else name for name, by_name in _arguments(made_like))
    calls = {kind: list(_public(kind)) for kind in (ConnectorManager, Jobs)}
    return HEAD.format(
        imports=_imports([made_like, *calls[ConnectorManager], *calls[Jobs]]),
        init=_signature(made_like),
        arguments=given,
        jobs=inspect.getdoc(ConnectorManager.jobs),
        manager="\n".join(_method(function, "_manager") for function in calls[ConnectorManager]),
        calls="\n".join(_method(function, "_jobs") for function in calls[Jobs]),
    )


def _public(kind: type) -> Iterator[FunctionType]:
    """Public methods in the order of the sources, those of the base classes first."""
    for name in dict.fromkeys(name for base in reversed(kind.__mro__) for name in vars(base)):
        member = getattr(kind, name)
        if isinstance(member, FunctionType) and not name.startswith("_"):
            yield member


def _method(function: FunctionType, inner: str) -> str:
    given = ", ".join(f"{name}={name}" if by_name else name for name, by_name in _arguments(function))
    call = f"self.{inner}.{function.__name__}({given})"
    if inspect.isasyncgenfunction(function):
        call = f"self._loop.iterate({call})"
    elif inspect.iscoroutinefunction(function):
        call = f"self._loop.run({call})"
    signature = _signature(function)
    answer = "" if signature.endswith("-> None:") else "return "
    return f'{signature}\n        """{_docstring(function)}"""\n        {answer}{call}\n'


def _signature(function: FunctionType) -> str:
    """As it is in the source, without what makes it async; on one line where it fits now."""
    lines = inspect.getsourcelines(function)[0]
    end = next(number for number, line in enumerate(lines) if line.endswith(":\n"))
    text = "".join(lines[: end + 1]).rstrip()
    text = text.replace("async def ", "def ").replace("AsyncGenerator[", "Generator[")
    joined = re.sub(r"\s*\n\s*", " ", text).replace("( ", "(").replace(" )", ")")
    return text if ",)" in joined or len(joined) > WIDTH else f"    {joined.strip()}"


def _docstring(function: FunctionType) -> str:
    """Indented as in a class; the closing quotes of a long one stand alone."""
    text = inspect.getdoc(function)
    assert text, f"{function.__qualname__} has no docstring"
    lines = textwrap.indent(text, " " * 8).lstrip()
    return f"{lines}\n        " if "\n" in lines else lines


def _arguments(function: FunctionType) -> Iterator[tuple[str, bool]]:
    """How each argument but self is handed on, and whether by its name."""
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        is_open = parameter.kind is parameter.VAR_KEYWORD
        yield f"**{parameter.name}" if is_open else parameter.name, parameter.kind is parameter.KEYWORD_ONLY


def _imports(functions: list[FunctionType]) -> str:
    """The standard library's names at once; ours for type checkers alone, so that importing the facade is cheap."""
    signatures = " ".join(_signature(function) for function in functions)
    used = {*re.findall(r"\b[A-Z]\w*", signatures), *NAMED}
    known = dict(NAMED)
    for file in {inspect.getfile(function) for function in functions}:
        known |= _imported(Path(file))
    modules: dict[str, list[str]] = {}
    for name in sorted(used & known.keys(), key=lambda name: (not name.isupper(), not name[0].isupper(), name)):
        modules.setdefault(known[name], []).append(name)
    lines = [(module, f"from {module} import {', '.join(names)}") for module, names in sorted(modules.items())]
    theirs = [line for module, line in lines if not module.startswith("peft_studio")]
    ours = [_wrapped(f"    {line}") for module, line in lines if module.startswith("peft_studio")]
    return "\n".join([*theirs, "", "if TYPE_CHECKING:", *ours])


def _wrapped(line: str) -> str:
    """An import that is too long for a line, with a line for each name."""
    if len(line) <= WIDTH:
        return line
    start, _, names = line.partition(" import ")
    return "\n".join([f"{start} import (", *(f"        {name}," for name in names.split(", ")), "    )"])


def _imported(file: Path) -> dict[str, str]:
    """Names that a module imports, each with where from; a generator stands for an async one."""
    imports = [
        node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)
    ]
    found = {alias.name: node.module for node in imports for alias in node.names if node.module}
    return {name.removeprefix("Async"): module for name, module in found.items()}


def main() -> None:
    """Write the module; with --check, only compare."""
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(page(), encoding="utf-8")
    elif TARGET.read_text(encoding="utf-8") != page():
        sys.exit(f"{TARGET} is not what {Path(__file__).name} writes: run it")


if __name__ == "__main__":
    main()

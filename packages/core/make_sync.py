"""Writes `peft_studio/sync.py` and `_sync` from the async classes: `python packages/core/make_sync.py [--check]`.

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
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FunctionType

from peft_studio.jobs import Jobs
from peft_studio.manager import ConnectorManager

SOURCES = Path(__file__).parent / "src/peft_studio"
WIDTH = 120

HEAD = '''"""`SyncConnectorManager`: the manager for scripts and notebooks, where every call waits for its answer.

Made by packages/core/make_sync.py from `ConnectorManager` and `Jobs`, as is `_sync`; do not edit.
"""

from __future__ import annotations

{imports}

__all__ = ["SyncConnectorManager", "SyncJobs"]


class SyncConnectorManager(
{bases}
):
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

{methods}'''

AREA = '''"""Calls of the facade, made by packages/core/make_sync.py from {source}; do not edit."""

from __future__ import annotations

{imports}


{classes}'''

CALLS = '''class {name}:
    """{about}"""

    _manager: ConnectorManager
    _loop: LoopThread

{methods}'''

JOBS = '''class SyncJobs:
    """The jobs of one manager's ledger; had from `SyncConnectorManager.jobs`."""

    def __init__(self, jobs: Jobs, loop: LoopThread) -> None:
        self._jobs = jobs
        self._loop = loop

{methods}'''

#: What the texts above name and the signatures may not.
_LOOP = {"TYPE_CHECKING": "typing", "LoopThread": "peft_studio._loop_thread"}
_HEAD = {
    "TYPE_CHECKING": "typing",
    "Self": "typing",
    "deque": "collections",
    "ConnectorRegistry": "peft_studio.registry",
    "Outcome": "peft_studio.hooks",
}

Functions = list[FunctionType]


def pages() -> dict[Path, str]:
    """Every module of the facade: one for each module of the calls, one for the jobs, one that holds them together."""
    areas: dict[str, dict[type, Functions]] = {}
    for owner, functions in _public(ConnectorManager).items():
        if owner is not ConnectorManager:
            area = areas.setdefault(owner.__module__, {})
            areas[owner.__module__] = {owner: functions, **area}  # as in the source
    named = {module: _place("_sync", module.rpartition(".")[2]) for module in areas}
    return {
        _place("sync"): _head(areas),
        _place("_sync", "__init__"): '"""The calls of `SyncConnectorManager`, by area."""\n',
        _place("_sync", "jobs"): _jobs(),
        **{named[module]: _area(module, owners) for module, owners in areas.items()},
    }


def _place(*parts: str) -> Path:
    return SOURCES.joinpath(*parts).with_suffix(".py")


def _head(areas: Mapping[str, Mapping[type, Functions]]) -> str:
    made_like = vars(ConnectorManager)["__init__"]
    own = _public(ConnectorManager)[ConnectorManager]
    bases = {f"Sync{owner.__name__}": module for module, owners in areas.items() for owner in owners}
    inherited = {name: f"peft_studio._sync.{module.rpartition('.')[2]}" for name, module in bases.items()}
    return HEAD.format(
        imports=_imports([made_like, *own], _HEAD, {**inherited, "SyncJobs": "peft_studio._sync.jobs"}),
        bases="\n".join(f"    {name}," for name in bases),
        init=_signature(made_like),
        arguments=", ".join(f"{name}={name}" if by_name else name for name, by_name in _arguments(made_like)),
        jobs=inspect.getdoc(ConnectorManager.jobs),
        methods="\n".join(_method(function, "_manager") for function in own),
    )


def _area(module: str, owners: Mapping[type, Functions]) -> str:
    functions = [function for found in owners.values() for function in found]
    classes = [
        CALLS.format(
            name=f"Sync{owner.__name__}",
            about=_docstring(owner, 4),
            methods="\n".join(_method(function, "_manager") for function in found),
        )
        for owner, found in owners.items()
    ]
    imports = _imports(functions, {**_LOOP, "ConnectorManager": "peft_studio.manager"})
    return AREA.format(source=module, imports=imports, classes="\n\n".join(classes))


def _jobs() -> str:
    functions = _public(Jobs)[Jobs]
    methods = "\n".join(_method(function, "_jobs") for function in functions)
    imports = _imports(functions, {**_LOOP, "Jobs": Jobs.__module__})
    return AREA.format(source=Jobs.__module__, imports=imports, classes=JOBS.format(methods=methods))


def _public(kind: type) -> dict[type, Functions]:
    """Public methods by the class that they are written in, in the order of the sources, base classes first."""
    found: dict[type, Functions] = {}
    for base in reversed(kind.__mro__):
        for name, member in vars(base).items():
            if isinstance(member, FunctionType) and not name.startswith("_") and getattr(kind, name) is member:
                found.setdefault(base, []).append(member)
    return found


def _method(function: FunctionType, inner: str) -> str:
    given = ", ".join(f"{name}={name}" if by_name else name for name, by_name in _arguments(function))
    call = f"self.{inner}.{function.__name__}({given})"
    if inspect.isasyncgenfunction(function):
        call = f"self._loop.iterate({call})"
    elif inspect.iscoroutinefunction(function):
        call = f"self._loop.run({call})"
    signature = _signature(function)
    answer = "" if signature.endswith("-> None:") else "return "
    return f'{signature}\n        """{_docstring(function, 8)}"""\n        {answer}{call}\n'


def _signature(function: FunctionType) -> str:
    """As it is in the source, without what makes it async; on one line where it fits now."""
    lines = inspect.getsourcelines(function)[0]
    end = next(number for number, line in enumerate(lines) if line.endswith(":\n"))
    text = "".join(lines[: end + 1]).rstrip()
    text = text.replace("async def ", "def ").replace("AsyncGenerator[", "Generator[")
    joined = re.sub(r"\s*\n\s*", " ", text).replace("( ", "(").replace(" )", ")")
    return text if ",)" in joined or len(joined) > WIDTH else f"    {joined.strip()}"


def _docstring(member: FunctionType | type, margin: int) -> str:
    """Indented as in a class; the closing quotes of a long one stand alone."""
    text = inspect.getdoc(member)
    assert text, f"{member.__qualname__} has no docstring"
    lines = textwrap.indent(text, " " * margin).lstrip()
    return f"{lines}\n{' ' * margin}" if "\n" in lines else lines


def _arguments(function: FunctionType) -> Iterator[tuple[str, bool]]:
    """How each argument but self is handed on, and whether by its name."""
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        is_open = parameter.kind is parameter.VAR_KEYWORD
        yield f"**{parameter.name}" if is_open else parameter.name, parameter.kind is parameter.KEYWORD_ONLY


def _imports(functions: Functions, named: Mapping[str, str], needed: Mapping[str, str] | None = None) -> str:
    """The standard library's names and those of `needed` at once; ours for type checkers alone, which costs nothing."""
    signatures = " ".join(_signature(function) for function in functions)
    known = dict(named)
    for file in {inspect.getfile(function) for function in functions}:
        known |= _imported(Path(file))
    used = {*re.findall(r"\b[A-Z]\w*", signatures), *named}
    lines = _lines({name: known[name] for name in used & known.keys()})
    theirs = [line for module, line in lines if not module.startswith("peft_studio")]
    at_once = [_wrapped(line) for _, line in _lines(needed or {})]
    ours = [_wrapped(f"    {line}") for module, line in lines if module.startswith("peft_studio")]
    return "\n".join([*theirs, *(["", *at_once] if at_once else []), "", "if TYPE_CHECKING:", *ours])


def _lines(homes: Mapping[str, str]) -> list[tuple[str, str]]:
    """Each module with the import of the names that are at home there, in the order of the linter."""
    modules: dict[str, list[str]] = {}
    for name in sorted(homes, key=lambda name: (not name.isupper(), not name[0].isupper(), name)):
        modules.setdefault(homes[name], []).append(name)
    return [(module, f"from {module} import {', '.join(names)}") for module, names in sorted(modules.items())]


def _wrapped(line: str) -> str:
    """An import that is too long for a line, with a line for each name."""
    if len(line) <= WIDTH:
        return line
    start, _, names = line.partition(" import ")
    margin = " " * (len(line) - len(line.lstrip()))
    return "\n".join([f"{start} import (", *(f"{margin}    {name}," for name in names.split(", ")), f"{margin})"])


def _imported(file: Path) -> dict[str, str]:
    """Names that a module imports, each with where from; a generator stands for an async one."""
    imports = [
        node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)
    ]
    found = {alias.name: node.module for node in imports for alias in node.names if node.module}
    return {name.removeprefix("Async"): module for name, module in found.items()}


def main() -> None:
    """Write the modules; with --check, only compare."""
    for path, text in pages().items():
        if "--check" not in sys.argv[1:]:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path} is not what {Path(__file__).name} writes: run it")


if __name__ == "__main__":
    main()

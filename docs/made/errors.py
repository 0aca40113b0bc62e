"""The table of errors."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

from peft_studio import errors
from peft_studio.errors import PeftStudioError


def parts() -> dict[str, Callable[[], str]]:
    """One table."""
    return {"errors": _table}


def all_errors(of: type[PeftStudioError] = PeftStudioError) -> Iterator[type[PeftStudioError]]:
    """Every class of the tree, each below the one it derives from; those of other modules are private."""
    yield of
    for child in of.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from all_errors(child)


def _table() -> str:
    rows = [f"| {_link(each)} | {_caught_as(each)} | {each.exit_code} | {_meaning(each)} |" for each in all_errors()]
    return "\n".join(["| error | is also | exit code | meaning |", "|---|---|---|---|", *rows, ""])


def _link(error: type[PeftStudioError]) -> str:
    return f"[`{error.__name__}`](#{error.__name__.lower()})"


def _caught_as(error: type[PeftStudioError]) -> str:
    names = [base.__name__ for base in error.__bases__ if base is not Exception]
    return ", ".join(f"`{name}`" for name in names if name != PeftStudioError.__name__) or "–"


def _meaning(error: type[PeftStudioError]) -> str:
    return (inspect.getdoc(error) or "").partition("\n\n")[0].replace("\n", " ")

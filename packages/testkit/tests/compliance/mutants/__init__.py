"""Mutants: the reference connector with one mistake each that a real author would make.

A check that has never failed proves nothing. Each mutant names the one check that must notice it, and says in a
sentence what is wrong; what is changed is text of the rendered connector, so that a reader sees the mistake itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from textwrap import indent

from attrs import field, frozen
from reference import Edit

from peft_studio.records import FEATURES

GROUPS = (
    "identity",
    "distribution",
    "imports",
    "connection",
    "secrets",
    "errors",
    "concurrency",
    "resources",
    "submission",
    "feeding",
    "jobs",
    "rentals",
    "logs",
    "artifacts",
    "registry",
    "tracking",
    "runs",
    "inference",
)


@frozen(kw_only=True)
class Mutant:
    """One broken connector."""

    #: The check that must fail.
    check: str
    #: What is wrong with it.
    fault: str
    edits: tuple[Edit, ...] = field(converter=tuple)
    features: Sequence[str] = FEATURES
    #: Checks that fail too because the fault is theirs as well, with the reason.
    also: Mapping[str, str] = field(factory=dict)
    #: Why so much fails at once that only the first failure, which is `check`, tells anything.
    ruins: str | None = None


def mutant(check: str, fault: str, *edits: Edit, **more: object) -> Mutant:
    """A mutant, written as it reads."""
    return Mutant(check=check, fault=fault, edits=edits, **more)  # type: ignore[arg-type]


def edit(file: str, old: str, new: str) -> Edit:
    """Another text in place of one that is there exactly once."""
    return Edit(file, old, new)


def without(file: str, text: str | None = None) -> Edit:
    """A file that is missing, or a text in it."""
    return Edit(file, text, None if text is None else "")


def body(*lines: str) -> str:
    """Lines of a method."""
    return "".join(f"        {line}\n" for line in lines)


def tried(code: str, kind: str, *handler: str) -> str:
    """The code in a try statement, with what is done about errors of that kind."""
    margin = code[: len(code) - len(code.lstrip())]
    handling = "".join(f"{margin}    {line}\n" for line in handler)
    return f"{margin}try:\n{indent(code, '    ')}{margin}except {kind}:\n{handling}"


def all_mutants() -> Iterator[tuple[str, Mutant]]:
    """Every mutant with an id: the check's, numbered where it has several."""
    seen: dict[str, int] = {}
    for group in GROUPS:
        for each in import_module(f"mutants.{group}").MUTANTS:
            seen[each.check] = seen.get(each.check, 0) + 1
            number = seen[each.check]
            yield (each.check if number == 1 else f"{each.check}-{number}"), each

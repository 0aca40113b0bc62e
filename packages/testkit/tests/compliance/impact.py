"""Test impact analysis: which checks can tell a mutant from the reference connector at all.

Most mutants differ from the reference in the bodies of a few functions and in nothing else. A check that enters none of
these on the reference goes the same way on the mutant, step by step, and comes to the same verdict: it passes. Running
it again would prove nothing new. All others run: those that enter such a function in any thread or process, and all of
them when more than bodies has changed (a signature, a class, what an import does, a file that is no program).

Mutants that many checks can tell from the reference are told from it together: each runs the checks that it or one of
its companions must fail, and one connector that has the mistakes of all of them runs all others, which must pass.

It rests on two things. Checks do not read the connector's program text; what a traceback shows of it is of functions
that were entered. And a check does not depend on what another check has left behind: the runner sees to that.
`python3 dev.py mutants` relies on neither, mixes no mistakes, and runs every check on every mutant.
"""

from __future__ import annotations

import ast
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import frozen
from mutants import Mutant
from reference import NAME, Edit, install, quiet, subject

from peft_studio.records import FEATURES
from peft_studio_testkit.compliance import Outcome, Runner
from peft_studio_testkit.scaffold.render import render

Function = ast.FunctionDef | ast.AsyncFunctionDef
#: As many mutants make one connector at most.
_COMPANY = 12
#: More checks than that are many.
MANY = 60
_RECORDED = (
    Edit("recorder.py", None, Path(__file__).with_name("recorder.py").read_text(encoding="utf-8")),
    Edit("__init__.py", "__version__", "from . import recorder  # noqa: F401\n\n__version__"),
)


@frozen
class Impact:
    """What the reference connector looks like, and what each check enters of it."""

    #: Path -> text.
    files: Mapping[str, str]
    #: Check id -> `file:function`.
    entered: Mapping[str, frozenset[str]]

    def noticing(self, mutant: Mutant) -> frozenset[str] | None:
        """The checks that can tell the mutant from the reference, and those that it names; None for any."""
        if mutant.features != FEATURES:
            return None
        changed = changed_functions(self.files, edited(self.files, mutant.edits))
        if changed is None:
            return None
        return frozenset(id for id, entered in self.entered.items() if changed & entered) | named(mutant)


@frozen
class Company:
    """Mutants whose mistakes can be made in one connector, in the order in which they are."""

    members: tuple[str, ...]
    #: What becomes of the reference.
    files: Mapping[str, str]

    def with_(self, id: str, mutant: Mutant) -> Company | None:
        """One more; None where it wants to change what another one has changed, or the two make no program."""
        try:
            files = edited(self.files, mutant.edits)
            for path in {edit.path for edit in mutant.edits} & files.keys():
                if path.endswith(".py"):
                    ast.parse(files[path])
        except (AssertionError, KeyError, SyntaxError):
            return None
        return Company((*self.members, id), files)


def companies(mutants: Mapping[str, Mutant], files: Mapping[str, str]) -> list[Company]:
    """The mutants in as few companies as may be; small enough for one mistake not to hide another."""
    found: list[Company] = []
    for id, mutant in mutants.items():
        for number, company in enumerate(found):
            joined = company.with_(id, mutant) if len(company.members) < _COMPANY else None
            if joined is not None:
                found[number] = joined
                break
        else:
            found.append(Company((id,), edited(files, mutant.edits)))
    return found


def named(mutant: Mutant) -> frozenset[str]:
    """The checks that must fail."""
    return frozenset({mutant.check, *mutant.also})


def edited(files: Mapping[str, str], edits: Iterable[Edit]) -> dict[str, str]:
    """The files with these changes. Fails unless what is to be changed is there exactly once."""
    found = dict(files)
    for edit in edits:
        if edit.new is None:
            del found[edit.path]
        else:
            found[edit.path] = edit.of(found.get(edit.path))
    return found


def watch() -> Impact:
    """Run every check on the reference connector and note what it enters."""
    with tempfile.TemporaryDirectory(prefix="peft-studio-reference-") as name, quiet(Path(name)):
        render(NAME, Path(name, "right"), features=FEATURES)
        site = install(Path(name, "recorded"), _RECORDED)
        with subject(site) as found:
            # What a subject remembers from one check to the next counts for all of them.
            assert all((found.record, found.distribution, found.imported))
            always = _taken(site.parent / "entered.txt")
            entered = {}
            for result in Runner(found).results():
                assert result.outcome is not Outcome.FAILED, result
                entered[result.check.id] = always | _taken(site.parent / "entered.txt")
        return Impact(read_files(Path(name, "right")), entered)


def _taken(notes: Path) -> frozenset[str]:
    """The notes so far, which are gone then."""
    if not notes.exists():
        return frozenset()
    entered = frozenset(notes.read_text(encoding="utf-8").splitlines())
    os.truncate(notes, 0)  # a file of its own would not be the one that is open in the processes
    return entered


def read_files(project: Path) -> dict[str, str]:
    """Path -> text of each file."""
    files = [path for path in project.rglob("*") if path.is_file()]
    return {path.relative_to(project).as_posix(): path.read_text(encoding="utf-8") for path in files}


def changed_functions(before: Mapping[str, str], after: Mapping[str, str]) -> set[str] | None:
    """`file:function` of each with another body; None when anything else has changed."""
    found: set[str] = set()
    for path in before.keys() | after.keys():
        old, new = before.get(path), after.get(path)
        if old == new:
            continue
        if old is None or new is None or not path.endswith(".py"):
            return None
        was, now = _Program(old), _Program(new)
        if was.rest != now.rest:
            return None
        found |= {f"{Path(path).name}:{name}" for name, body in was.bodies.items() if body != now.bodies[name]}
    return found


class _Program(ast.NodeTransformer):
    """A program in two parts: the bodies of its functions, and the rest."""

    def __init__(self, text: str) -> None:
        self.bodies: dict[str, list[str]] = {}
        self._scope: list[str] = []
        self.rest = ast.dump(self.visit(ast.parse(text)))

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self._scope.append(node.name)
        self.generic_visit(node)
        self._scope.pop()
        return node

    def visit_FunctionDef(self, node: Function) -> Function:
        body = [ast.dump(statement) for statement in node.body]
        self.bodies.setdefault(".".join([*self._scope, node.name]), []).extend(body)
        # Both can be seen from outside, without a call.
        is_generator = any(isinstance(each, ast.Yield | ast.YieldFrom) for each in ast.walk(node))
        node.body = [ast.Expr(ast.Constant(f"{ast.get_docstring(node)} {is_generator}"))]
        return node

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> Function:
        return self.visit_FunctionDef(node)

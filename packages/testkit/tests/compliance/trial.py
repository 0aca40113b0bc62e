"""Runs checks on one mutant, in a process of its own: what a mutant does to its process ends with it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from multiprocessing.forkserver import ensure_running
from pathlib import Path

import pytest
from attrs import frozen
from mutants import Mutant
from reference import install, quiet, subject

from peft_studio_testkit.compliance import Outcome, Runner


@frozen
class Trial:
    """What came of one mutant."""

    #: Check id -> why it failed, in the order in which they ran.
    failures: Mapping[str, str]
    #: How many checks ran.
    count: int


#: What the first check would import, in every process anew.
_IMPORTED = ["trial", "hatchling.builders.wheel", "httpx2", "jinja2", "peft_studio.manager", "uvicorn.server"]


def pool() -> ProcessPoolExecutor:
    """A process for each mutant, forked from one that has imported everything; three for each core, as most wait."""
    context = get_context("forkserver")
    context.set_forkserver_preload(_IMPORTED)
    with pytest.MonkeyPatch.context() as patch:
        # The server does not know our sys.path, and says nothing when it cannot import something.
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        ensure_running()
    return ProcessPoolExecutor(3 * (os.cpu_count() or 1), mp_context=context, max_tasks_per_child=1)


def try_out(mutant: Mutant, only: frozenset[str] | None = None) -> Trial:
    """Install the mutant and run every check that applies, or only these; of a ruined one, up to the first failure."""
    with tempfile.TemporaryDirectory(prefix="peft-studio-mutant-") as folder, quiet(Path(folder)):
        site = install(Path(folder), mutant.edits, mutant.features)
        with subject(site) as found:
            runner = Runner(found)
            if only is not None:
                runner.checks = tuple(check for check in runner.checks if check.id in only)
            return _trial(runner, is_over=bool(mutant.ruins))


def _trial(runner: Runner, *, is_over: bool) -> Trial:
    """Run the checks; all of them, unless it is over with the first failure."""
    results = []
    for result in runner.results():
        results.append(result)
        if is_over and result.outcome is Outcome.FAILED:
            break
    failures = {result.check.id: str(result.reason) for result in results if result.outcome is Outcome.FAILED}
    return Trial(failures, len(results))

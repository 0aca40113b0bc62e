"""Runs every check on one mutant, in a process of its own: what a mutant does to its process ends with it."""

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
from impact import Impact
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


def try_out(mutant: Mutant, impact: Impact | None = None) -> Trial:
    """Install the mutant and run every check that applies; given the impact, those that may notice a difference."""
    with tempfile.TemporaryDirectory(prefix="peft-studio-mutant-") as folder, quiet(Path(folder)):
        site = install(Path(folder), mutant.edits, mutant.features)
        with subject(site) as found:
            runner = Runner(found)
            if impact is not None:
                runner.checks = impact.may_notice(mutant, Path(folder, "project"), runner.checks)
            report = runner.run()
    failed = {result.check.id: str(result.reason) for result in report.of(Outcome.FAILED)}
    return Trial(failed, len(report.results))

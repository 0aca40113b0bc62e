"""Runs every check on one mutant, in a process of its own: what a mutant does to its process ends with it."""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from attrs import frozen
from mutants import Mutant
from reference import install, subject

from peft_studio_testkit.compliance import Outcome, Runner


@frozen
class Trial:
    """What came of one mutant."""

    #: Check id -> why it failed, in the order in which they ran.
    failures: Mapping[str, str]
    #: How many checks ran.
    count: int


def pool() -> ProcessPoolExecutor:
    """A process for each mutant, forked from one that has imported everything; three for each core, as most wait."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["trial"])
    return ProcessPoolExecutor(3 * (os.cpu_count() or 1), mp_context=context, max_tasks_per_child=1)


def try_out(mutant: Mutant) -> Trial:
    """Install the mutant and run every check that applies."""
    with tempfile.TemporaryDirectory(prefix="peft-studio-mutant-") as folder, _quiet(Path(folder)):
        site = install(Path(folder), mutant.edits, mutant.features)
        with subject(site) as found:
            report = Runner(found).run()
    failed = {result.check.id: str(result.reason) for result in report.of(Outcome.FAILED)}
    return Trial(failed, len(report.results))


@contextlib.contextmanager
def _quiet(folder: Path) -> Iterator[None]:
    """What a mutant leaves on the disk stays in `folder`, and what it prints is not shown."""
    os.environ["TMPDIR"] = os.environ["HOME"] = str(folder)
    tempfile.tempdir = None
    nowhere = io.StringIO()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield

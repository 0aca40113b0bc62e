"""The reference connector, its mutants and variants, importable by the tests and by the processes that they start."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from impact import Impact, watch
from mutants import Mutant, all_mutants
from trial import Trial, pool, try_out
from variants import VARIANTS

MUTANTS = dict(all_mutants())
#: Set in the environment, every check runs on every mutant, also those that cannot tell it from the reference.
EVERY_CHECK = "EVERY_CHECK"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each mutant, and for each variant."""
    for name, connectors in (("mutant_id", MUTANTS), ("variant_id", VARIANTS)):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, connectors)


@pytest.fixture(scope="session")
def processes() -> Iterator[ProcessPoolExecutor]:
    """Where connectors are tried out."""
    with pool() as processes:
        try:
            yield processes
        finally:
            processes.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def impact(processes: ProcessPoolExecutor) -> Impact:
    """Which checks enter which functions of the reference connector."""
    return processes.submit(watch).result()


@pytest.fixture(scope="session")
def trials(request: pytest.FixtureRequest, processes: ProcessPoolExecutor) -> dict[str, Future[Trial]]:
    """What comes of the connectors that are asked for in this run; all of them are under way from the first test on."""
    calls = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    variants = [call["variant_id"] for call in calls if "variant_id" in call]
    mutants = [call["mutant_id"] for call in calls if "mutant_id" in call]
    under_way = {id: processes.submit(try_out, VARIANTS[id]) for id in variants}
    # To find out takes as long as two mutants with every check.
    known = len(mutants) > 5 and EVERY_CHECK not in os.environ
    impact = request.getfixturevalue("impact") if known else None
    return under_way | {id: processes.submit(try_out, MUTANTS[id], impact) for id in mutants}


@pytest.fixture
def mutant(mutant_id: str) -> Mutant:
    """One mutant."""
    return MUTANTS[mutant_id]

"""The reference connector and its mutants, importable by the tests and by the processes that they start."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from mutants import Mutant, all_mutants
from trial import Trial, pool, try_out

MUTANTS = dict(all_mutants())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each mutant."""
    if "mutant_id" in metafunc.fixturenames:
        metafunc.parametrize("mutant_id", MUTANTS)


@pytest.fixture(scope="session")
def trials(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Trial]]]:
    """What comes of the mutants that are asked for in this run; all of them are under way from the first test on."""
    calls = [getattr(item, "callspec", None) for item in request.session.items]
    wanted = [call.params["mutant_id"] for call in calls if call is not None and "mutant_id" in call.params]
    with pool() as processes:
        try:
            yield {id: processes.submit(try_out, MUTANTS[id]) for id in wanted}
        finally:
            processes.shutdown(cancel_futures=True)


@pytest.fixture
def mutant(mutant_id: str) -> Mutant:
    """One mutant."""
    return MUTANTS[mutant_id]


@pytest.fixture
def trial(mutant_id: str, trials: dict[str, Future[Trial]]) -> Trial:
    """What came of it."""
    return trials[mutant_id].result()

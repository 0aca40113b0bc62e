"""The reference connector, its mutants and variants, importable by the tests and by the processes that they start."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from mutants import Mutant, all_mutants
from trial import Trial, pool, try_out
from variants import VARIANTS

MUTANTS = dict(all_mutants())


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each mutant, and for each variant."""
    for name, connectors in (("mutant_id", MUTANTS), ("variant_id", VARIANTS)):
        if name in metafunc.fixturenames:
            metafunc.parametrize(name, connectors)


@pytest.fixture(scope="session")
def trials(request: pytest.FixtureRequest) -> Iterator[dict[str, Future[Trial]]]:
    """What comes of the connectors that are asked for in this run; all of them are under way from the first test on."""
    known = {**MUTANTS, **VARIANTS}
    calls = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    wanted = [call[name] for call in calls for name in ("mutant_id", "variant_id") if name in call]
    with pool() as processes:
        try:
            yield {id: processes.submit(try_out, known[id]) for id in wanted}
        finally:
            processes.shutdown(cancel_futures=True)


@pytest.fixture
def mutant(mutant_id: str) -> Mutant:
    """One mutant."""
    return MUTANTS[mutant_id]

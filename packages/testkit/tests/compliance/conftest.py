"""The reference connector, its mutants and variants, importable by the tests and by the processes that they start."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import chain
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from impact import MANY, Impact, companies, named, watch
from mutants import Mutant, all_mutants
from trial import Trial, pool, try_out
from variants import VARIANTS

from peft_studio.records import FEATURES
from peft_studio_testkit.compliance import all_checks

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
def trials(request: pytest.FixtureRequest, processes: ProcessPoolExecutor) -> dict[str, list[Future[Trial]]]:
    """What comes of the connectors that are asked for in this run; all of them are under way from the first test on.

    A mutant that is tried out in company has two trials: its own, and that of the company.
    """
    calls = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    variants = [call["variant_id"] for call in calls if "variant_id" in call]
    mutants = [call["mutant_id"] for call in calls if "mutant_id" in call]
    # To find out takes as long as two mutants with every check.
    known = len(mutants) > 5 and EVERY_CHECK not in os.environ
    if not known:
        connectors = {id: VARIANTS[id] for id in variants} | {id: MUTANTS[id] for id in mutants}
        return {id: [processes.submit(try_out, connector)] for id, connector in connectors.items()}
    impact: Impact = request.getfixturevalue("impact")
    noticing = {id: None if id == "reference" else impact.noticing(VARIANTS[id]) for id in variants}
    right = {id: [processes.submit(try_out, VARIANTS[id], found)] for id, found in noticing.items()}
    return right | _few_checks(processes, impact, mutants)


def _few_checks(processes: ProcessPoolExecutor, impact: Impact, ids: Iterable[str]) -> dict[str, list[Future[Trial]]]:
    """The trials of these mutants with no more checks than can tell something."""
    checks = {id: impact.noticing(MUTANTS[id]) for id in ids}
    dear = [id for id, found in checks.items() if found is None or len(found) > MANY]
    sociable = {id: MUTANTS[id] for id in dear if _is_sociable(MUTANTS[id])}
    every = frozenset(check.id for check in all_checks())
    together: dict[str, list[Future[Trial]]] = {}
    for company in companies(sociable, impact.files):
        members = [sociable[id] for id in company.members]
        own = frozenset(chain.from_iterable(map(named, members)))
        all_at_once = Mutant(check="", fault="All of theirs.", edits=[edit for each in members for edit in each.edits])
        others = processes.submit(try_out, all_at_once, every - own)
        for id in company.members:
            found = checks[id]
            together[id] = [processes.submit(try_out, MUTANTS[id], own if found is None else own & found), others]
    alone = {id: [processes.submit(try_out, MUTANTS[id], found)] for id, found in checks.items() if id not in together}
    return together | alone


def _is_sociable(mutant: Mutant) -> bool:
    """Whether its mistake can stand beside others: it spoils one check, of a connector that has every feature."""
    return not mutant.ruins and not mutant.also and mutant.features == FEATURES


@pytest.fixture
def mutant(mutant_id: str) -> Mutant:
    """One mutant."""
    return MUTANTS[mutant_id]

"""Every check has been seen to fail: mutants of the reference connector, each with one mistake."""

from __future__ import annotations

from mutants import Mutant, all_mutants
from trial import Trial, pool, try_out

from peft_studio_testkit.compliance import all_checks

#: Checks without a mutant, with the reason.
UNSEEN: dict[str, str] = {}


def test_mutant_is_noticed(mutant: Mutant, trial: Trial) -> None:
    """A connector with one mistake fails the check that names it, and no other unless that is its mistake too."""
    if mutant.ruins:
        assert mutant.check == next(iter(trial.failures), None), trial.failures
    else:
        assert {mutant.check, *mutant.also} == set(trial.failures), trial.failures


def test_reference_passes() -> None:
    """The connector that all mutants are made of passes every check that applies to it."""
    right = Mutant(check="", fault="none", edits=())
    with pool() as processes:
        trial = processes.submit(try_out, right).result()
    assert {} == trial.failures
    assert trial.count > 220


def test_every_check_has_a_mutant() -> None:
    """A check that nobody has seen fail proves nothing."""
    seen = {mutant.check for _, mutant in all_mutants()}
    assert set(UNSEEN) == {check.id for check in all_checks()} - seen


def test_mutants_name_checks() -> None:
    """What a mutant names is a check, and it says what is wrong."""
    known = {check.id for check in all_checks()}
    for id, mutant in all_mutants():
        assert {mutant.check, *mutant.also} <= known, id
        assert mutant.fault.endswith("."), id


def test_few_mutants_ruin_more_than_one_check() -> None:
    """A mutant that fails several checks says little about each of them; such are rare."""
    mutants = [mutant for _, mutant in all_mutants()]
    assert 10 >= sum(mutant.ruins is not None for mutant in mutants)
    assert 12 >= sum(bool(mutant.also) for mutant in mutants)

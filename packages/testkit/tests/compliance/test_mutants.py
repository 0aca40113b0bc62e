"""Every check has been seen to fail: mutants of the reference connector, each with one mistake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future

from impact import Impact
from mutants import Mutant, all_mutants
from trial import Trial

from peft_studio_testkit.compliance import all_checks

Trials = Mapping[str, Sequence[Future[Trial]]]

#: Checks without a mutant, with the reason.
UNSEEN: dict[str, str] = {}


def test_mutant_is_noticed(mutant_id: str, mutant: Mutant, trials: Trials) -> None:
    """A connector with one mistake fails the check that names it, and no other unless that is its mistake too."""
    failures = {id: why for trial in trials[mutant_id] for id, why in trial.result().failures.items()}
    if mutant.ruins:
        assert mutant.check == next(iter(failures), None), failures
    else:
        assert {mutant.check, *mutant.also} == set(failures), failures


def test_right_connector_passes(variant_id: str, trials: Trials) -> None:
    """The reference, and connectors that are right in another way, pass every check that applies to them."""
    (trial,) = (trial.result() for trial in trials[variant_id])
    assert {} == trial.failures
    assert trial.count > (220 if variant_id == "reference" else 0)


def test_checks_are_watched(impact: Impact) -> None:
    """What a check enters is known also where another thread or process enters it, and so is what it does not."""
    entered = impact.entered
    assert "connector.py:AcmeConnector.connect" in entered["connect-answers-true"]
    assert "sandbox.py:AcmeSandbox.account" in entered["connect-answers-true"]  # the platform's thread
    assert "api.py:AcmeApi.download_job_file" in entered["memory-is-bounded"]  # a process
    assert "api.py:AcmeApi.download_job_file" in entered["artifact-arrives"]
    assert "api.py:AcmeApi.download_job_file" not in entered["connect-answers-true"]
    assert "sandbox.py:AcmeSandbox.routes" in entered["name-is-a-slug"]  # before the first check


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

"""Levels, expected failures, and connectors that will not end."""

from __future__ import annotations

import asyncio
import sys

import pytest
from tiny import TinyConnector, TinySandbox, check, run

from peft_studio import ConnectionFailed
from peft_studio_testkit.compliance import LATEST_LEVEL, Outcome, Runner, Subject, all_checks, checks_for
from peft_studio_testkit.compliance.check import GROUPS
from peft_studio_testkit.compliance.expect import expect
from peft_studio_testkit.sandbox import Sandbox


async def _passes(subject: Subject) -> None:
    expect(subject.name == "tiny", "another connector")


async def _fails(subject: Subject) -> None:
    expect(False, "it is as it is")


def _subject(**more: object) -> Subject:
    return Subject(TinyConnector, type("Pinned", (TinySandbox,), more)())


def test_higher_level_is_not_asked_for() -> None:
    """A connector that pins level 1 is not measured by what level 2 brought; one that pins level 2 is."""
    checks = [check(_passes, id="old"), check(_passes, id="new", level=2)]
    assert ["old"] == [each.id for each in checks_for(_subject(level=1), checks)]
    assert ["old", "new"] == [each.id for each in checks_for(_subject(level=2), checks)]


def test_level_of_the_suite_goes_first() -> None:
    """A level that is given counts, whatever the sandbox pins."""
    assert Subject(TinyConnector, TinySandbox(), level=7).level == 7


def test_checks_are_chosen_by_what_is_declared() -> None:
    """Checks of a feature, of the network and of optional methods are for those who have them."""
    others = [
        check(_passes, feature="training"),
        check(_passes, network=True),
        check(_passes, offers=("find_job",)),
    ]
    assert () == checks_for(_subject(), others)
    assert 1 == len(checks_for(_subject(), [check(_passes, offers=("connect",))]))


def test_checks_are_in_order_and_explained() -> None:
    """Ids are unique slugs, every check says what it wants, levels exist, and groups come one after the other."""
    checks = all_checks()
    assert len(checks) == len({each.id for each in checks}) >= 120
    assert list(GROUPS) == list(dict.fromkeys(each.group for each in checks))
    assert all(1 <= each.level <= LATEST_LEVEL for each in checks)
    assert all(each.doc.endswith((".", "?")) for each in checks)


def test_pass_and_failure() -> None:
    """A check passes, or fails with its reason."""
    assert (Outcome.PASSED, None) == (run(check(_passes)).outcome, run(check(_passes)).reason)
    assert (Outcome.FAILED, "it is as it is") == (run(check(_fails)).outcome, run(check(_fails)).reason)


def _result(body: object, sandbox: type[Sandbox]) -> tuple[Outcome, str]:
    with sandbox() as started:
        made_up = check(body, id="name-is-a-slug")  # type: ignore[arg-type]
        result = Runner(Subject(TinyConnector, started)).result(made_up)
    return result.outcome, str(result.reason)


def test_expected_failure() -> None:
    """A failure that the sandbox expects is told with its reason."""
    expecting = type("Expecting", (TinySandbox,), {"expected_failures": {"name-is-a-slug": "names are free here"}})
    assert (Outcome.XFAILED, "names are free here") == _result(_fails, expecting)


def test_expected_failure_that_passes_fails() -> None:
    """A failure that is expected and does not come is a failure: the expectation is out of date."""
    expecting = type("Expecting", (TinySandbox,), {"expected_failures": {"name-is-a-slug": "names are free here"}})
    outcome, reason = _result(_passes, expecting)
    assert (Outcome.FAILED, True) == (outcome, "take it out" in reason)


def test_expected_failure_of_no_check() -> None:
    """Expecting the failure of a check that does not exist is an error that names it."""
    expecting = type("Expecting", (TinySandbox,), {"expected_failures": {"no-such-check": "a reason of words"}})
    with pytest.raises(ValueError) as caught:
        Runner(Subject(TinyConnector, expecting()))
    assert "no-such-check" in str(caught.value)


def test_check_that_hangs_fails() -> None:
    """What does not end is a failure after the sandbox's patience, and the run goes on."""

    async def hangs(subject: Subject) -> None:
        await asyncio.Event().wait()

    assert "it had not ended after 0.2 s" == run(check(hangs)).reason


def test_end_of_the_program_is_a_failure() -> None:
    """A connector that ends the program fails its check, and the run goes on."""

    class Quitter(TinyConnector):
        def get_required_credentials(self) -> list[str]:
            sys.exit("no licence")

    async def asks(subject: Subject) -> None:
        await asyncio.to_thread(subject.connector().get_required_credentials)

    assert "it raised SystemExit: no licence" == run(check(asks), Quitter).reason


def test_error_of_any_kind_is_a_failure() -> None:
    """Errors of ours and of Python become the reason, with their names."""

    async def loses(subject: Subject) -> None:
        raise ConnectionFailed("the line is dead")

    async def breaks(subject: Subject) -> None:
        raise KeyError("items")

    assert "it raised ConnectionFailed: the line is dead" == run(check(loses)).reason
    assert "it raised KeyError: 'items'" == run(check(breaks)).reason


def test_each_check_starts_from_nothing() -> None:
    """What one check leaves in the sandbox or in the environment is gone before the next one."""

    async def leaves(subject: Subject) -> None:
        import os

        expect(not subject.sandbox.models, "there is a model of another check")
        expect("TINY" not in os.environ, "there is a variable of another check")
        subject.sandbox.models.add("mine")
        os.environ["TINY"] = "1"

    with TinySandbox() as sandbox:
        runner = Runner(Subject(TinyConnector, sandbox))
        assert [Outcome.PASSED] * 2 == [runner.result(check(leaves)).outcome for _ in range(2)]

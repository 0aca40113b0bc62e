"""Circuit breakers: closed, open, half-open, and shared by every process."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from peft_studio import (
    BrokenConnector,
    ConnectionFailed,
    InvalidConfig,
    InvalidCredentials,
    JobNotFound,
    MissingCredentials,
    PlatformError,
    RateLimitError,
)
from peft_studio.breaker import COOL_DOWN, FAILURES, LONGEST_COOL_DOWN, Breakers, Circuit

NOW = 1_800_000_000.0


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """The time of every breaker in a test."""
    return Clock()


@pytest.fixture
def breakers(clock: Clock) -> Breakers:
    """The user's breakers, without jitter."""
    return Breakers(clock, lambda: 1.0)


def open_one(breakers: Breakers, name: str = "acme") -> None:
    """Fail as often as it takes."""
    for _ in range(FAILURES):
        breakers.failed(name)


def test_a_breaker_opens_after_failures_in_a_row(breakers: Breakers) -> None:
    """An answer in between begins the count anew."""
    for _ in range(FAILURES - 1):
        breakers.failed("acme")
    breakers.answered("acme")
    for _ in range(FAILURES - 1):
        breakers.failed("acme")

    assert (Circuit.CLOSED, True) == (breakers.circuit("acme"), breakers.may_ask("acme"))
    breakers.failed("acme")
    assert (Circuit.OPEN, False) == (breakers.circuit("acme"), breakers.may_ask("acme"))


def test_one_platform_says_nothing_of_another(breakers: Breakers) -> None:
    """Each name has a breaker; so have names that would be paths."""
    open_one(breakers, "../acme")

    assert Circuit.OPEN is breakers.circuit("../acme")
    assert Circuit.CLOSED is breakers.circuit("acme")
    assert Circuit.CLOSED is breakers.circuit("..%2Facme")


def test_after_the_cool_down_one_may_try(breakers: Breakers, clock: Clock) -> None:
    """The others wait until it is known what came of it, or until that has taken too long."""
    open_one(breakers)
    clock.now += COOL_DOWN - 1
    assert not breakers.may_ask("acme")
    clock.now += 1

    assert Circuit.HALF_OPEN is breakers.circuit("acme")
    assert [True, False, False] == [breakers.may_ask("acme") for _ in range(3)]
    clock.now += COOL_DOWN
    assert breakers.may_ask("acme")


def test_an_answer_closes_it(breakers: Breakers, clock: Clock) -> None:
    """Nothing of the failures is left."""
    open_one(breakers)
    clock.now += COOL_DOWN
    breakers.may_ask("acme")
    breakers.answered("acme")

    assert [True, True] == [breakers.may_ask("acme") for _ in range(2)]
    assert breakers.since("acme") is None
    breakers.failed("acme")
    assert Circuit.CLOSED is breakers.circuit("acme")


def test_each_trial_that_fails_doubles_the_cool_down(breakers: Breakers, clock: Clock) -> None:
    """Up to a limit, so that a platform which comes back is noticed within minutes."""
    open_one(breakers)
    pauses = []
    for _ in range(6):
        began = clock.now
        while not breakers.may_ask("acme"):
            clock.now += 1
        pauses.append(clock.now - began)
        breakers.failed("acme")

    assert [30, 60, 120, 240, 480, 480] == pauses
    assert LONGEST_COOL_DOWN == max(pauses)


def test_the_cool_down_has_jitter(clock: Clock) -> None:
    """Two processes do not come back in step."""
    breakers = Breakers(clock, lambda: 0.5)
    open_one(breakers)
    clock.now += COOL_DOWN / 2

    assert Circuit.HALF_OPEN is breakers.circuit("acme")
    assert len({Breakers().jitter() for _ in range(20)}) > 1
    assert all(0.5 <= Breakers().jitter() <= 1.0 for _ in range(100))


def test_since_when_nobody_answers(breakers: Breakers, clock: Clock) -> None:
    """From the first failure in a row on."""
    breakers.failed("acme")
    clock.now += 100
    breakers.failed("acme")

    assert datetime.fromtimestamp(NOW, UTC) == breakers.since("acme")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, 0),
        (ConnectionFailed("no route"), FAILURES + 1),
        (InvalidCredentials("no"), 0),
        (RateLimitError("slowly"), 0),
        (PlatformError("no"), 0),
        (JobNotFound("which?"), 0),
        (MissingCredentials("no api_key"), FAILURES),
        (BrokenConnector("no"), FAILURES),
        (InvalidConfig("no"), FAILURES),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_refusal_is_an_answer(breakers: Breakers, home: Path, error: Any, expected: int) -> None:
    """Only silence counts; what happened before anybody was asked changes nothing."""
    open_one(breakers)
    breakers.note("acme", error)

    assert expected == json.loads((home / "state/breakers/acme.json").read_text())["failures"]


def test_a_platform_that_answers_leaves_no_file(breakers: Breakers, home: Path) -> None:
    """Most do, and every call would write one."""
    breakers.answered("acme")
    assert breakers.may_ask("acme")

    assert not (home / "state").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"null", b'{"failures": "many"}', b'{"failures": 9, "since": NaN, "until": 1e18}',
        b'{"failures": 9, "since": "now", "until": 1800000100}', b'{"failures": 9, "since": 1, "until": -1}',
        b'{"failures": null, "since": 1, "until": 1800000100}',
    ],
)  # fmt: skip
def test_a_file_that_says_nothing_is_a_closed_breaker(breakers: Breakers, home: Path, content: bytes) -> None:
    """And the next failure is the first."""
    file = home / "state/breakers/acme.json"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)

    assert (Circuit.CLOSED, None) == (breakers.circuit("acme"), breakers.since("acme"))
    breakers.failed("acme")
    assert {"failures": 1, "since": NOW, "until": None} == json.loads(file.read_text())


def test_a_clock_that_was_set_back_locks_nobody_out(breakers: Breakers, clock: Clock) -> None:
    """A cool-down that would end in a year ends now."""
    clock.now += 365 * 86400
    open_one(breakers)
    clock.now = NOW

    assert breakers.may_ask("acme")


def test_two_processes_share_a_breaker(breakers: Breakers, clock: Clock, home: Path) -> None:
    """What another one has found out is known here at once, and the other way round."""
    program = "import sys\nfrom peft_studio.breaker import Breakers\nb = Breakers(lambda: float(sys.argv[2]))\n"

    def elsewhere(line: str) -> str:
        command = [sys.executable, "-c", program + line, "acme", str(clock.now)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    breakers.failed("acme")
    elsewhere("for _ in range(2): b.failed('acme')")
    assert Circuit.OPEN is breakers.circuit("acme")
    assert "open False" == elsewhere("print(b.circuit('acme'), b.may_ask('acme'))")

    clock.now += COOL_DOWN
    assert "True" == elsewhere("print(b.may_ask('acme'))")
    assert not breakers.may_ask("acme")
    elsewhere("b.answered('acme')")
    assert breakers.may_ask("acme")


class Modelled(RuleBasedStateMachine):
    """Two processes with the same breakers, against what the page says of them."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.folder = TemporaryDirectory()
        self.patch.setenv("PEFT_STUDIO_HOME", self.folder.name)
        self.clock = Clock()
        self.processes = [Breakers(self.clock, lambda: 1.0), Breakers(self.clock, lambda: 1.0)]
        #: By name: failures in a row, and until when nobody asks.
        self.model: dict[str, tuple[int, float]] = {}

    def teardown(self) -> None:
        self.patch.undo()
        self.folder.cleanup()

    @rule(name=st.sampled_from(["a", "b"]), process=st.integers(0, 1))
    def fail(self, name: str, process: int) -> None:
        failures = self.model.get(name, (0, 0.0))[0] + 1
        pause = 30 * 2 ** (failures - 3) if failures >= 3 else 0
        self.model[name] = (failures, self.clock.now + min(pause, 480) if pause else 0.0)
        self.processes[process].failed(name)

    @rule(name=st.sampled_from(["a", "b"]), process=st.integers(0, 1))
    def answer(self, name: str, process: int) -> None:
        self.model.pop(name, None)
        self.processes[process].answered(name)

    @rule(name=st.sampled_from(["a", "b"]), process=st.integers(0, 1))
    def want_to_ask(self, name: str, process: int) -> None:
        failures, until = self.model.get(name, (0, 0.0))
        expected = self.clock.now >= until
        if failures >= 3 and expected:
            self.model[name] = (failures, self.clock.now + 30)
        assert expected == self.processes[process].may_ask(name)

    @rule(seconds=st.sampled_from([1, 29, 30, 100, 480]))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @invariant()
    def both_see_the_same(self) -> None:
        for name in ("a", "b"):
            failures, until = self.model.get(name, (0, 0.0))
            expected = "closed" if failures < 3 else "open" if self.clock.now < until else "half-open"
            assert [expected, expected] == [process.circuit(name) for process in self.processes]


TestModelled = Modelled.TestCase
TestModelled.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

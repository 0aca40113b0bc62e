"""Probes: what they find out, and that a connector which hangs holds up nobody."""

from __future__ import annotations

import asyncio
import gc
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from peft_studio import (
    BrokenConnector,
    ConnectionFailed,
    ConnectorManager,
    ConnectorNotFound,
    InvalidConfig,
    InvalidCredentials,
    Observed,
    PeftStudioError,
    PlatformConnector,
    RateLimit,
    RateLimitError,
    SyncConnectorManager,
)
from peft_studio.breaker import FAILURES, Breakers, Circuit
from peft_studio.health import Condition, Health, check
from peft_studio.health.prober import Prober

from .health_props import Gate, left_probes, probe_threads, raising, registry_of, steered

SEEN = Observed(at=datetime.now(UTC), clock_skew=-3.5, rate_limit=RateLimit(remaining=7, limit=60))


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A place to hang at; afterwards everybody gets through, and no thread is left."""
    made = Gate()
    yield made
    made.open()
    assert [] == left_probes()


async def health_of(connector: type[PlatformConnector], **options: Any) -> Health:
    """What one probe finds out."""
    (found,) = await check([connector.name], registry=registry_of(connector), **options)
    return found


async def test_a_healthy_connector() -> None:
    """It was connected, asked, and let go; what it observed is shown."""
    connector = steered(observed=property(lambda _: SEEN))
    found = await health_of(connector)

    assert (True, True, True) == (found.is_healthy, found.is_reachable, found.is_authenticated)
    assert (SEEN.rate_limit, -3.5) == (found.rate_limit, found.clock_skew)
    assert found.latency is not None
    assert found.latency > 0
    assert (None, None) == (found.last_error, found.unreachable_since)
    assert (1, 1, 1) == (connector.connected, connector.verified, connector.disconnected)


async def test_latency_is_the_time_of_one_verification() -> None:
    """Not that of the connection before it; a connector that only connects has no other time."""

    async def slowly() -> bool:
        await asyncio.sleep(0.5)
        return True

    slow, fast = await health_of(steered(on_verify=slowly)), await health_of(steered(on_connect=slowly))
    lazy = steered(on_connect=slowly)
    lazy.verify_connection = PlatformConnector.verify_connection  # type: ignore[method-assign]

    assert slow.latency >= 0.5 > fast.latency
    assert (await health_of(lazy)).latency >= 0.5


@pytest.mark.parametrize(
    ("error", "condition", "reachable", "authenticated"),
    [
        (ConnectionFailed("no route"), Condition.UNREACHABLE, False, None),
        (ConnectionResetError("reset"), Condition.UNREACHABLE, False, None),
        (InvalidCredentials("no such key"), Condition.UNAUTHORIZED, True, False),
        (RateLimitError("slowly", remedy="wait"), Condition.REFUSED, True, None),
        (BrokenConnector("no library"), Condition.BROKEN, None, None),
        (KeyError("id"), Condition.BROKEN, None, None),
        (SystemExit(3), Condition.BROKEN, None, None),
        (PeftStudioError("the keyring is locked"), Condition.NOT_ASKED, None, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
async def test_what_an_error_says(
    error: BaseException, condition: Condition, reachable: Any, authenticated: Any
) -> None:
    """Which of the two, and its sentence; what it does not say is None. The connection is let go."""
    for moment in ("on_connect", "on_verify"):
        connector = steered(**{moment: raising(error)})
        found = await health_of(connector)

        assert (condition, reachable, authenticated) == (found.condition, found.is_reachable, found.is_authenticated)
        assert "one (1.0): " in found.last_error
        assert found.at == found.last_error_at
        assert ("wait" if isinstance(error, RateLimitError) else found.remedy) == found.remedy
        assert found.latency is None
        assert connector.connected == connector.disconnected


async def test_an_error_brings_what_was_observed() -> None:
    """A 429 has the limit, and there is no connection left to ask."""
    error = RateLimitError("slowly")
    error.observed = SEEN
    found = await health_of(steered(on_connect=raising(error)))

    assert (SEEN.rate_limit, -3.5) == (found.rate_limit, found.clock_skew)


async def test_a_no_without_a_reason_is_asked_for_one() -> None:
    """`verify_connection` may only say False; connecting anew tells why."""
    answers = iter([True])

    def only_once() -> bool:
        if next(answers, None) is None:
            raise InvalidCredentials("revoked")
        return True

    connector = steered(on_connect=only_once, on_verify=lambda: False)
    found = await health_of(connector)

    assert (Condition.UNAUTHORIZED, "one (1.0): revoked") == (found.condition, found.last_error)
    assert (2, 2) == (connector.connected, connector.disconnected)


async def test_a_no_that_was_over_at_the_second_question_is_none() -> None:
    """A connection that had gone stale; one that stays without a reason is a refusal."""
    answers = iter([False, True])

    assert (await health_of(steered(on_verify=lambda: next(answers)))).is_healthy
    found = await health_of(steered(on_verify=lambda: False))
    assert (Condition.REFUSED, True) == (found.condition, "verify_connection says no" in found.last_error)


async def test_what_is_not_set_up_is_not_asked() -> None:
    """The field is named, with how to give it."""
    connector = steered(get_required_credentials=lambda _: ["api_key"])
    found = await health_of(connector)

    assert (Condition.NOT_SET_UP, "one (1.0) needs api_key") == (found.condition, found.last_error)
    assert 'pass {"api_key": ...} to connect' == found.remedy
    assert 0 == connector.connected
    assert (await health_of(connector, credentials={"one": {"api_key": "k"}})).is_healthy


@pytest.mark.parametrize("moment", ["on_connect", "on_verify"])
@pytest.mark.parametrize("way", ["blocks its loop", "is deaf"])
async def test_a_connector_that_hangs_delays_nobody(gate: Gate, moment: str, way: str) -> None:
    """Neither one that blocks its event loop nor one that ignores being cancelled; it says where it was."""
    stuck = steered("stuck", **{moment: gate if way == "blocks its loop" else gate.deaf})
    registry = registry_of(stuck, steered("two"), steered("three"))
    found = {each.name: each for each in await check(registry=registry, time_limit=3)}
    stage = "connect" if moment == "on_connect" else "verify_connection"

    assert (True, True) == (found["two"].is_healthy, found["three"].is_healthy)
    assert (Condition.NO_ANSWER, None, None) == (
        found["stuck"].condition, found["stuck"].is_reachable, found["stuck"].is_authenticated,
    )  # fmt: skip
    assert f"no answer within 3 s; it was still at {stage}" == found["stuck"].last_error


async def test_one_that_can_be_cancelled_is_let_go_of() -> None:
    """The connection of a probe whose time was up is closed at once, while others may still be asked."""
    connector = steered(on_verify=lambda: asyncio.sleep(3600))
    found = await Prober(registry_of(connector), {}, 2).ask("one")

    assert Condition.NO_ANSWER is found.condition
    assert [] == left_probes()
    assert (1, 1) == (connector.connected, connector.disconnected)


def test_a_program_can_end_although_a_connector_hangs() -> None:
    """Neither the thread of the probe nor one of `asyncio.to_thread` keeps it."""
    program = f"""
import asyncio, sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from health_props import registry_of, steered
from peft_studio.health import check
blocking = steered("blocking", on_connect=lambda: time.sleep(3600))
threaded = steered("threaded", on_connect=lambda: asyncio.to_thread(time.sleep, 3600))
print(*[each.condition for each in asyncio.run(check(registry=registry_of(blocking, threaded), time_limit=1))])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)

    assert ("no answer no answer\n", "", 0) == (done.stdout, done.stderr, done.returncode)


async def test_twelve_are_asked_at_once() -> None:
    """Each waits, in its loop, until all are there."""
    barrier = threading.Barrier(12)
    connectors = [steered(f"c-{number}", on_connect=lambda: barrier.wait(60) >= 0) for number in range(12)]
    found = await check(registry=registry_of(*connectors), time_limit=60)

    assert [True] * 12 == [each.is_healthy for each in found]


async def test_a_probe_that_still_hangs_is_not_joined_by_another(gate: Gate) -> None:
    """One thread for each connector at most, however often it is asked; when it has come back it is asked again."""
    connector = steered(on_connect=gate)
    prober = Prober(registry_of(connector), {}, 0.2)
    conditions = [(await prober.ask("one")).condition for _ in range(3)]

    assert [Condition.NO_ANSWER] * 3 == conditions
    assert (1, 1, True) == (connector.connected, len(probe_threads()), prober.is_stuck)
    gate.open()
    assert [] == left_probes()
    assert (False, True) == (prober.is_stuck, (await prober.ask("one")).is_healthy)


async def test_tasks_that_a_connector_leaves_behind_are_ended(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of it is printed, and its thread ends."""
    left = []

    async def leave_behind() -> bool:
        left.append(asyncio.create_task(asyncio.sleep(3600)))
        await asyncio.sleep(0)
        return True

    assert (await health_of(steered(on_connect=leave_behind))).is_healthy
    assert left[0].cancelled()
    assert ([], []) == (left_probes(), caplog.records)


async def test_a_task_that_fails_and_is_forgotten_is_no_message_for_the_user(caplog: pytest.LogCaptureFixture) -> None:
    """Asyncio would print it in the midst of the table."""

    async def fail() -> None:
        raise ValueError("nobody looks")

    async def forget() -> bool:
        asyncio.create_task(fail())  # noqa: RUF006 -- that is the mistake
        await asyncio.sleep(0.01)
        return True

    assert (await health_of(steered(on_connect=forget))).is_healthy
    assert [] == left_probes()
    gc.collect()
    assert [] == [record for record in caplog.records if record.levelno > logging.DEBUG]


async def test_a_cancelled_check_cancels_its_probes() -> None:
    """Whoever asks may change their mind."""
    began = threading.Event()

    async def long() -> None:
        began.set()
        await asyncio.sleep(3600)

    connector = steered(on_verify=long)
    asking = asyncio.create_task(health_of(connector, time_limit=3600))
    await asyncio.to_thread(began.wait, 30)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking

    assert ([], 1) == (left_probes(), connector.disconnected)


async def test_probes_tell_the_breaker() -> None:
    """Silence counts, a refusal does not; the health says since when."""
    silent, refusing = (steered(name, on_connect=raising(ConnectionFailed("no"))) for name in ("silent", "refusing"))
    registry = registry_of(silent, refusing)
    for _ in range(FAILURES - 1):
        await check(registry=registry)
    refusing.on_connect = raising(InvalidCredentials("no"))
    by_name = {each.name: each for each in await check(registry=registry)}

    assert (Circuit.OPEN, Circuit.CLOSED) == (Breakers().circuit("silent"), Breakers().circuit("refusing"))
    assert Breakers().since("silent") == by_name["silent"].unreachable_since
    assert by_name["refusing"].unreachable_since is None
    silent.on_connect = None
    await check(registry=registry)
    assert Circuit.CLOSED is Breakers().circuit("silent")


@pytest.mark.parametrize(("patience", "counts"), [(0.1, True), (3.0, False)])
async def test_only_a_patient_probe_counts_for_the_breaker(gate: Gate, patience: float, counts: bool) -> None:
    """Whoever gives a platform a moment cannot tell whether it is there."""
    prober = Prober(registry_of(steered(on_connect=gate)), {}, 0.3, patience=patience)
    found = await prober.ask("one")

    assert [counts, counts] == [since is not None for since in (found.unreachable_since, Breakers().since("one"))]


async def test_where_nobody_waits_for_the_platform_no_breaker_counts(gate: Gate) -> None:
    """A connector that does not let go is its own fault."""
    found = await Prober(registry_of(steered(on_disconnect=gate)), {}, 0.3, patience=0.1).ask("one")

    assert "no answer within 0.3 s; it was still at disconnect" == found.last_error
    assert Breakers().since("one") is None


async def test_all_that_are_known_are_asked_and_none_twice() -> None:
    """Names are asked in their order; one that nobody has is told at once."""
    registry = registry_of(steered("b"), steered("a"))

    assert ["a", "b"] == [each.name for each in await check(registry=registry)]
    assert ["b", "a"] == [each.name for each in await check(["b", "a", "b"], registry=registry)]
    with pytest.raises(ConnectorNotFound, match="no connector 'c'"):
        await check(["a", "c"], registry=registry)


@pytest.mark.parametrize("limit", [0, -1, float("inf"), float("nan")])
async def test_a_time_limit_is_a_number_above_zero(limit: float) -> None:
    """Else a probe would end before it begins, or never."""
    with pytest.raises(InvalidConfig, match="time limit of a probe"):
        await check(registry=registry_of(), time_limit=limit)


async def test_the_manager_asks_with_its_own_connectors_and_credentials() -> None:
    """Over connections of their own: its own stay as they are."""
    connector = steered(get_required_credentials=lambda _: ["api_key"])
    async with ConnectorManager(
        connectors=[connector], discover=False, ledger=False, credentials={"one": {"api_key": "k"}}
    ) as manager:
        await manager.connect("one")
        (found,) = await manager.check_health()

        assert (True, True, 2, 1) == (
            found.is_healthy, manager.is_connected("one"), connector.connected, connector.disconnected,
        )  # fmt: skip


def test_the_sync_manager_has_it_too() -> None:
    """For scripts and notebooks."""
    with SyncConnectorManager(connectors=[steered()], discover=False, ledger=False) as manager:
        assert [Condition.HEALTHY] == [found.condition for found in manager.check_health(["one"], time_limit=30)]


def test_the_shape_of_its_json() -> None:
    """Unknown is null; milliseconds are named so."""
    at = datetime(2027, 1, 1, tzinfo=UTC)
    limit = RateLimit(remaining=7, limit=60, resets=at + timedelta(seconds=30))
    health = Health(name="one", condition=Condition.HEALTHY, at=at, latency=0.01234, rate_limit=limit, clock_skew=0.0)

    assert {
        "name": "one", "condition": "healthy", "at": at, "reachable": True, "unreachable_since": None,
        "authenticated": True, "latency_ms": 12.3, "clock_skew": 0.0, "last_error": None, "last_error_at": None,
        "remedy": None, "rate_limit": {"remaining": 7, "limit": 60, "resets": at + timedelta(seconds=30)},
    } == health.to_dict()  # fmt: skip
    assert Health(name="one", condition=Condition.BROKEN, at=at).to_dict()["rate_limit"] is None

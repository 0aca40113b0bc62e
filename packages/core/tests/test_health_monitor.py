"""The monitor: tells what changes, keeps to its bounds, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from peft_studio import ConnectionFailed, ConnectorNotFound, InvalidConfig
from peft_studio.health import Condition, Health, HealthMonitor
from peft_studio.health.isolation import Isolated

from .health_props import Gate, Steered, left_probes, probe_threads, raising, registry_of, steered

SILENT = raising(ConnectionFailed("no route"))


def monitor_of(*connectors: type[Steered], **options: Any) -> HealthMonitor:
    """A monitor that hardly waits."""
    return HealthMonitor(registry=registry_of(*connectors), **{"interval": 0.01, "time_limit": 30, **options})


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what must happen soon."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 -- threads have no asyncio.Event
            await asyncio.sleep(0.01)


def shown(health: Health) -> tuple[str, str]:
    """Who, and how."""
    return health.name, str(health.condition)


async def test_changes_are_told_and_nothing_else() -> None:
    """However often it is asked meanwhile; the last error is remembered."""
    connector = steered()
    told = []
    async with monitor_of(connector) as monitor:
        async for change in monitor.changes():
            told.append(change)
            asked = connector.connected
            await until(lambda: connector.connected > asked + 3)  # noqa: B023 -- it is waited for here
            if len(told) == 3:
                break
            connector.on_connect = None if change.condition is Condition.UNREACHABLE else SILENT

    assert ["healthy", "unreachable", "healthy"] == [change.condition for change in told]
    assert [None, "one (1.0): no route", "one (1.0): no route"] == [change.last_error for change in told]
    assert told[1].last_error_at <= told[2].last_error_at < told[2].at


async def test_whoever_listens_later_hears_first_what_is_known() -> None:
    """And the status can be asked for at any time."""
    async with monitor_of(steered("a"), steered("b", on_connect=SILENT), interval=3600) as monitor:
        assert (None, []) == (monitor.status("a"), monitor.statuses())
        await until(lambda: len(monitor.statuses()) == 2)
        changes = monitor.changes()

        assert [("a", "healthy"), ("b", "unreachable")] == [shown(await anext(changes)) for _ in range(2)]
        assert [("a", "healthy"), ("b", "unreachable")] == [shown(health) for health in monitor.statuses()]
        assert Condition.UNREACHABLE is monitor.status("b").condition
        with pytest.raises(ConnectorNotFound, match=r"c is not watched: those that are: a, b"):
            monitor.status("c")


async def test_every_listener_hears_everything() -> None:
    """One that reads slowly too."""
    connector = steered()
    async with monitor_of(connector) as monitor:
        quick, slow = monitor.changes(), monitor.changes()
        first = [shown(await anext(quick)), shown(await anext(slow))]
        connector.on_connect = SILENT
        second = [shown(await anext(quick)), shown(await anext(slow))]

    assert ([("one", "healthy")] * 2, [("one", "unreachable")] * 2) == (first, second)


async def test_listening_ends_with_the_monitor() -> None:
    """For those who wait, and for those who come later."""
    async with monitor_of(steered(), interval=3600) as monitor:
        changes = monitor.changes()
        await anext(changes)
        waiting = asyncio.ensure_future(anext(changes, "the end"))
        await asyncio.sleep(0)

    async with asyncio.timeout(30):
        assert "the end" == await waiting
        assert [("one", "healthy")] == [shown(change) async for change in monitor.changes()]


async def test_the_end_leaves_nothing_behind() -> None:
    """What was being asked is cancelled and let go of; no thread is left, and nobody is asked any more."""
    slowly = {"on_verify": lambda: asyncio.sleep(3600), "on_disconnect": lambda: asyncio.sleep(0.2)}
    connector = steered(**slowly)
    async with monitor_of(connector):
        await until(lambda: connector.verified > 0)

    assert (1, 1) == (connector.connected, connector.disconnected)
    assert [] == left_probes()
    assert 1 == connector.connected


async def test_letting_go_is_not_interrupted() -> None:
    """However often it is asked to stop meanwhile."""
    begun, letting_go, let_go = threading.Event(), threading.Event(), threading.Event()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.sleep(3600)
        finally:
            letting_go.set()
            await asyncio.sleep(0.1)
            let_go.set()

    isolated = Isolated(work, "slow")
    for moment in (begun, letting_go):
        assert await asyncio.to_thread(moment.wait, 30)
        isolated.cancel()
    await isolated.over(30)

    assert (True, True) == (let_go.is_set(), isolated.is_over)


async def test_it_is_never_too_early_to_ask_it_to_stop() -> None:
    """Its thread may not have got as far as its loop."""
    for _ in range(50):
        isolated = Isolated(partial(asyncio.sleep, 3600), "early")
        isolated.cancel()
        await isolated.over(10)
        assert isolated.is_over


async def test_a_monitor_that_hangs_nowhere_is_not_stuck() -> None:
    """`is_stuck` is what a program looks at that wants to end at once."""
    gate = Gate()
    async with monitor_of(steered(on_connect=gate), time_limit=0.1) as monitor:
        await until(lambda: bool(monitor.statuses()))
        assert monitor.is_stuck
    assert monitor.is_stuck
    gate.open()
    assert [] == left_probes()
    assert not monitor.is_stuck


async def test_one_that_hangs_does_not_keep_the_others_from_being_asked() -> None:
    """Also when only one may be asked at a time; it is asked again once it has come back."""
    gate, other = Gate(), steered("other")
    stuck = steered("stuck", on_connect=gate)
    async with monitor_of(stuck, other, concurrency=1, time_limit=1) as monitor:
        await until(lambda: other.connected > 3)
        assert Condition.NO_ANSWER is monitor.status("stuck").condition
        assert (1, True) == (stuck.connected, 1 <= len(probe_threads()) <= 2)
        gate.open()
        await until(lambda: monitor.status("stuck").is_healthy)

    assert [] == left_probes()


async def test_no_more_are_asked_at_once_than_allowed() -> None:
    """Six connectors, two places, each of which is used."""
    lock, asked, most = threading.Lock(), [], []

    async def count() -> bool:
        with lock:
            asked.append(1)
            most.append(len(asked))
        await asyncio.sleep(0.05)
        with lock:
            asked.pop()
        return True

    connectors = [steered(f"c-{number}", on_verify=count) for number in range(6)]
    async with monitor_of(*connectors, concurrency=2) as monitor:
        await until(lambda: len(monitor.statuses()) == 6 and len(most) > 12)

    assert 2 == max(most)


async def test_each_may_have_an_interval_of_its_own() -> None:
    """A name that is not among them has the usual one, which is a minute."""
    often, seldom = steered("often"), steered("seldom")
    async with monitor_of(often, seldom, interval={"often": 0.01}):
        await until(lambda: often.connected > 5)

    assert 1 == seldom.connected


async def test_only_those_that_are_named_are_asked() -> None:
    """Once each, in their order; a name that nobody has is refused before anything begins."""
    registry = registry_of(steered("a"), steered("b"), steered("c"))

    assert ("c", "a") == HealthMonitor(["c", "a", "c"], registry=registry).names
    assert ("a", "b", "c") == HealthMonitor(registry=registry).names
    with pytest.raises(ConnectorNotFound, match="no connector 'd'"):
        HealthMonitor(["a", "d"], registry=registry)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interval": 0}, "the interval for one must be a number of seconds above 0, not 0"),
        ({"interval": {"one": float("nan")}}, "the interval for one must be"),
        ({"concurrency": 0}, "concurrency must be at least 1, not 0"),
        ({"time_limit": 0}, "the time limit of a probe must be"),
    ],
)
async def test_bounds_are_checked(options: dict[str, Any], message: str) -> None:
    """Before anything is asked."""
    with pytest.raises(InvalidConfig, match=message):
        monitor_of(steered(), **options)


async def test_a_fault_of_ours_is_not_swallowed() -> None:
    """What is no error of a connector comes out at the end."""
    monitor = monitor_of(steered(on_connect=SILENT))
    monitor._prober.breakers.now = lambda: 1 / 0

    async def run() -> None:
        async with monitor:
            await until(lambda: all(task.done() for task in monitor._tasks))

    with pytest.raises(ZeroDivisionError):
        await run()

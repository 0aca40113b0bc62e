"""When a machine pauses its job, pushes its artifact, and ends: decided without a clock."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from peft_studio_worker.serving.watchdog import Limits, Pause, PushArtifact, Seen, TearDown, Watchdog

UNLIMITED = Limits(0.0, None, None, None)
DEADLINE = Limits(0.0, 10_000.0, None, None)
BOUGHT = Limits(0.0, 10_000.0, Decimal(1), Decimal("7.2"))  # 500 s
WATCHDOG = Watchdog(wait=100.0, keep=50.0, retry=30.0, can_push=False)
PUSHING = Watchdog(wait=100.0, keep=50.0, retry=30.0, can_push=True)


def seen(now: float, **changes: Any) -> Seen:
    """A machine whose job runs."""
    usual = {
        "started": 0.0, "last_input": 0.0, "last_request": 0.0, "is_alive": True, "stopped": None,
        "has_artifact": False, "is_pushed": False, "failed_pushes": 0, "push_failed": None, "acknowledged": None,
    }  # fmt: skip
    return Seen(now=now, **usual | changes)


def stopped(now: float, at: float, **changes: Any) -> Seen:
    """A machine whose job is done."""
    return seen(now, is_alive=False, stopped=at, has_artifact=True, **changes)


def failed(times: int, now: float, at: float = 150) -> Seen:
    """A machine whose job is done, whose client is gone, and whose push has failed."""
    return stopped(now, at=100, failed_pushes=times, push_failed=at)


NEAR, REACHED = "the machine's deadline of 10000 s is near", "the machine's deadline of 10000 s is reached"
GONE = "the job has stopped, and no client has come for 50 s"


@pytest.mark.parametrize(
    ("watchdog", "limits", "machine", "decision"),
    [
        # waiting for a job
        (WATCHDOG, UNLIMITED, seen(99, is_alive=False), None),
        (WATCHDOG, UNLIMITED, seen(100, is_alive=False), TearDown("no job came within 100 s")),
        (WATCHDOG, UNLIMITED, seen(149, is_alive=False, last_input=50.0), None),
        # running: nobody need be there
        (WATCHDOG, UNLIMITED, seen(10**9), None),
        # limits
        (WATCHDOG, DEADLINE, seen(9_399), None),
        (WATCHDOG, DEADLINE, seen(9_400), Pause(NEAR)),
        (WATCHDOG, DEADLINE, seen(10_000), TearDown(REACHED)),
        (WATCHDOG, DEADLINE, stopped(9_420, at=9_400), None),
        (PUSHING, DEADLINE, stopped(9_420, at=9_400), PushArtifact(NEAR, 580)),
        (PUSHING, DEADLINE, stopped(9_420, at=9_400, is_pushed=True), None),
        (WATCHDOG, DEADLINE, stopped(10_000, at=9_999), TearDown(REACHED)),
        (WATCHDOG, BOUGHT, seen(449), None),
        (WATCHDOG, BOUGHT, seen(450), Pause("the machine's maximum cost of 1 USD is near")),
        (WATCHDOG, BOUGHT, seen(500), TearDown("the machine's maximum cost of 1 USD is reached")),
        # stopped, and nobody comes
        (WATCHDOG, UNLIMITED, stopped(149, at=100), None),
        (WATCHDOG, UNLIMITED, stopped(150, at=100), TearDown(GONE)),
        (WATCHDOG, UNLIMITED, stopped(150, at=100, last_request=120.0), None),
        (WATCHDOG, UNLIMITED, stopped(150, at=100, started=120.0), None),
        (PUSHING, UNLIMITED, stopped(150, at=100), PushArtifact(GONE)),
        (PUSHING, UNLIMITED, stopped(150, at=100, is_pushed=True), TearDown(GONE)),
        # a push that failed is tried again, after longer and longer pauses
        (PUSHING, UNLIMITED, failed(1, 179), None),
        (PUSHING, UNLIMITED, failed(1, 180), PushArtifact(GONE)),
        (PUSHING, UNLIMITED, failed(2, 209), None),
        (PUSHING, UNLIMITED, failed(2, 210), PushArtifact(GONE)),
        (PUSHING, UNLIMITED, failed(5, 629), None),
        (PUSHING, UNLIMITED, failed(5, 630), PushArtifact(GONE)),
        (PUSHING, UNLIMITED, failed(6, 151), TearDown(GONE)),
        # and never beyond the limits, unless it was never tried
        (PUSHING, DEADLINE, failed(1, 9_979, at=9_950), None),
        (PUSHING, DEADLINE, failed(1, 9_980, at=9_950), PushArtifact(NEAR, 120)),
        (PUSHING, DEADLINE, failed(1, 10_000, at=9_950), TearDown(REACHED)),
        (PUSHING, DEADLINE, stopped(10_000, at=9_999), PushArtifact(REACHED, 120)),
        # the client has everything
        (PUSHING, DEADLINE, stopped(101, at=100, acknowledged="ab12"), TearDown("the client has the artifact")),
        (PUSHING, DEADLINE, stopped(101, at=100, acknowledged="abandoned"), TearDown("the client gave the job up")),
    ],
)
def test_decision(watchdog, limits, machine, decision) -> None:
    """Each rule on both sides of its edge."""
    assert decision == watchdog.decide(limits, machine)


def test_cost_counts_from_the_creation() -> None:
    """An hour at 7.20 is 7.20; without a rate nothing is known."""
    assert Decimal("7.2000") == BOUGHT.cost(3600.0)
    assert None is DEADLINE.cost(3600.0)
    assert (500.0, 450.0) == (BOUGHT.ends_by, BOUGHT.pause_by)
    assert (None, None) == (UNLIMITED.ends_by, UNLIMITED.pause_by)

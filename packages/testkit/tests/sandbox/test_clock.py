"""The clock: no wake-up is lost, whoever advances it from wherever."""

from __future__ import annotations

import asyncio
import threading

import pytest

from peft_studio_testkit.sandbox import Clock


async def test_a_sleeper_wakes_when_the_time_has_come():
    """Advancing short of the moment wakes nobody for good."""
    clock = Clock()
    sleeper = asyncio.create_task(clock.sleep_until(10))
    for _ in range(3):
        clock.advance(3)
        await asyncio.sleep(0.01)
    assert not sleeper.done()
    clock.advance(1)
    await asyncio.wait_for(sleeper, 5)


async def test_no_wake_up_is_lost():
    """Many sleepers in one thread and many small advances in another: all wake, none too early."""
    clock = Clock()
    woken = []

    async def sleeper(moment: int) -> None:
        await clock.sleep_until(moment)
        woken.append(clock.now() >= moment)

    sleepers = [asyncio.create_task(sleeper(moment)) for moment in range(200)]
    mover = threading.Thread(target=lambda: [clock.advance(0.5) for _ in range(400)])
    mover.start()
    await asyncio.wait_for(asyncio.gather(*sleepers), 10)
    mover.join()
    assert [True] * 200 == woken


async def test_a_condition_is_looked_at_after_each_ring():
    """`until` returns when somebody made the condition true and rang."""
    clock, values = Clock(), []
    waiter = asyncio.create_task(clock.until(lambda: bool(values)))
    await asyncio.sleep(0)
    values.append(1)
    threading.Thread(target=clock.ring).start()
    await asyncio.wait_for(waiter, 5)


async def test_a_moving_clock_needs_nobody():
    """With a speed the clock goes by itself, and wakes who waits."""
    clock = Clock(speed=1000)
    await asyncio.wait_for(clock.sleep(20), 5)
    assert clock.now() >= 20


async def test_sleepers_that_are_gone_are_forgotten():
    """A cancelled sleeper leaves nothing behind, and advancing goes on as if it had not been."""
    clock = Clock()
    sleeper = asyncio.create_task(clock.sleep(5))
    await asyncio.sleep(0)
    sleeper.cancel()
    await asyncio.gather(sleeper, return_exceptions=True)
    assert 0 == len(clock._waiting)
    clock.advance(5)


def test_a_loop_that_is_closed_is_left_alone():
    """A sleeper whose event loop was thrown away does not stop the others' clock."""
    clock = Clock()
    loop = asyncio.new_event_loop()
    sleeper = loop.create_task(clock.sleep(5))
    loop.run_until_complete(asyncio.sleep(0))
    sleeper._log_destroy_pending = False
    loop.close()
    clock.advance(5)
    assert 5 == clock.now()


def test_time_does_not_run_backwards():
    """A negative advance is refused."""
    with pytest.raises(ValueError, match="backwards"):
        Clock().advance(-1)


def test_reset_goes_back_to_the_start():
    """After a reset it is 0 again."""
    clock = Clock()
    clock.advance(7)
    clock.reset()
    assert 0 == clock.now()

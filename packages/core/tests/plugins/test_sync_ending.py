"""How calls of the synchronous facade end early, and how the facade itself ends: Ctrl-C, closing, being forgotten."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from peft_studio import ConnectionFailed, PlatformError

from .everything import Everything
from .facade import having, loop_threads, manager_of, run


@pytest.fixture(autouse=True)
def no_thread_stays() -> Any:
    """Every test closes what it opens."""
    yield
    assert [] == loop_threads()


# Ctrl-C.


@pytest.fixture
def interrupts() -> Any:
    """A test process that hears Ctrl-C also where CI runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Interrupted(Everything):
    """Presses Ctrl-C while it is being waited for, and says how it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: list[str] = []

    async def _wait(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            self.ended.append("cancelled and cleaned up")
            raise

    async def search_models(self, query):
        await self._wait()
        raise AssertionError

    async def stream_logs(self, job_id):
        yield "first"
        await self._wait()


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize("method", ["search_models", "stream_logs"])
def test_an_interrupt_cancels_the_call(method: str) -> None:
    """It is raised when the call has cleaned up; the manager goes on."""
    with manager_of(Interrupted) as manager:
        manager.connect("everything")
        connector = manager.get_connector("everything")
        assert isinstance(connector, Interrupted)
        with pytest.raises(KeyboardInterrupt):
            list(getattr(manager, method)("everything", "x"))

        assert ["cancelled and cleaned up"] == connector.ended
        assert manager.verify_connection("everything")


@pytest.mark.usefixtures("interrupts")
def test_an_interrupted_call_that_fails_is_not_told_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody waits for its error any more."""

    class Failing(Interrupted):
        async def _wait(self) -> None:
            try:
                await super()._wait()
            finally:
                raise RuntimeError("while cleaning up")

    with manager_of(Failing) as manager:
        manager.connect("everything")
        with pytest.raises(KeyboardInterrupt):
            manager.search_models("everything", "x")
        gc.collect()
        assert manager.verify_connection("everything")

    assert [] == caplog.messages


# The end.


def test_closing_twice_is_closing_once() -> None:
    """Also from several threads at the same time; afterwards every call says so."""
    manager = manager_of(Everything)
    manager.connect("everything")
    connector = manager.get_connector("everything")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: manager.close(), range(4)))
    manager.close()

    assert isinstance(connector, Everything)
    assert [("disconnect", {})] == connector.asked
    for call in (lambda: manager.connect("everything"), lambda: next(manager.stream_logs("everything", "j-1"))):
        with pytest.raises(ConnectionFailed, match="this manager is closed"):
            call()


def test_closing_cancels_what_others_wait_for() -> None:
    """They get an error and no result; nobody is left waiting."""
    begun = threading.Event()

    async def search_models(self, query):
        begun.set()
        await asyncio.Event().wait()

    manager = manager_of(having(search_models=search_models))
    manager.connect("everything")
    lines = manager.stream_logs("everything", "j-1")
    assert "first" == next(lines)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(manager.search_models, "everything", "x")
        begun.wait()
        manager.close()
        with pytest.raises(ConnectionFailed, match="the call was cancelled: the manager was closed meanwhile"):
            waiting.result()
    with pytest.raises(ConnectionFailed, match="the call was cancelled: the manager was closed meanwhile"):
        next(lines)


def test_a_failing_disconnect_is_told_and_ends_the_thread() -> None:
    """The first failure is raised; the manager is closed all the same."""

    async def disconnect(self):
        raise RuntimeError("stuck")

    manager = manager_of(having(disconnect=disconnect))
    manager.connect("everything")
    with pytest.raises(PlatformError, match="disconnect failed: stuck"):
        manager.close()
    manager.close()


def test_a_manager_that_is_forgotten_ends_its_thread() -> None:
    """A notebook makes one after the other and closes none."""
    manager = manager_of(Everything)
    manager.connect("everything")
    (thread,) = loop_threads()
    del manager
    gc.collect()
    thread.join(10)

    assert not thread.is_alive()


ENDING = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from everything import Everything
from peft_studio import SyncConnectorManager

class Streaming(Everything):
    async def stream_logs(self, job_id):
        try:
            while True:
                yield "first"
        finally:
            FINALLY
            print("closed", flush=True)

manager = SyncConnectorManager(connectors=[Streaming], discover=False, ledger=False)
manager.connect("everything")
lines = manager.stream_logs("everything", "j-1")
print(next(lines), flush=True)
"""


def test_a_program_that_closes_nothing_ends() -> None:
    """In the middle of a stream, which is closed in its own words; nothing is complained of."""
    assert ["first", "closed"] == run(ENDING.replace("FINALLY", "await asyncio.sleep(0.1)"))


@pytest.mark.slow
def test_a_stream_that_does_not_close_cannot_keep_a_program() -> None:
    """It gets a few seconds."""
    assert ["first"] == run(ENDING.replace("FINALLY", "await asyncio.Event().wait()"))


def test_importing_the_facade_costs_nothing() -> None:
    """Neither the event loop nor the manager is loaded before one is made."""
    program = """
import sys
from peft_studio import SyncConnectorManager
heavy = {"asyncio", "sqlite3", "peft_studio.manager", "peft_studio._loop_thread"}
print(sorted(heavy & sys.modules.keys()))
"""
    assert ["[]"] == run(program)

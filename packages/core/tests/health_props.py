"""Connectors whose platform does what a test says, for the tests of health."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from peft_studio import ConnectorRegistry, PlatformConnector
from peft_studio.policy import Policy


class Steered(PlatformConnector):
    """Answers at once, unless the test gives it something to do first."""

    description, version = "Does what a test says", "1.0"

    #: Run by `connect`, `verify_connection` and `disconnect`.
    on_connect: Callable[[], Any] | None = None
    on_verify: Callable[[], Any] | None = None
    on_disconnect: Callable[[], Any] | None = None
    connected: int
    disconnected: int
    verified: int

    async def connect(self, credentials):
        type(self).connected += 1
        return await _done(type(self).on_connect)

    async def disconnect(self):
        await _done(type(self).on_disconnect)
        type(self).disconnected += 1

    async def verify_connection(self):
        type(self).verified += 1
        return await _done(type(self).on_verify)


async def _done(function: Callable[[], Any] | None) -> Any:
    answer = True if function is None else function()
    return await answer if asyncio.iscoroutine(answer) else answer


def steered(name: str = "one", **members: Any) -> type[Steered]:
    """A connector of its own."""
    fresh = {"name": name, "display_name": name, "connected": 0, "disconnected": 0, "verified": 0}
    return type(name, (Steered,), {**fresh, **members})


def registry_of(*connectors: type[PlatformConnector]) -> ConnectorRegistry:
    """A registry that knows these and looks nowhere."""
    return ConnectorRegistry([], Policy(), extra=connectors)


def raising(error: BaseException) -> Callable[[], Any]:
    """A function that raises it."""

    def raise_it() -> None:
        raise error

    return raise_it


class Gate:
    """Holds up whoever comes to it, until it is opened."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self._is_open = threading.Event()

    def __call__(self) -> bool:
        """Block the thread, and with it the event loop."""
        self.arrived.set()
        assert self._is_open.wait(60)
        return True

    async def deaf(self) -> bool:
        """Block nothing, but take no notice of being cancelled."""
        self.arrived.set()
        while not self._is_open.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue
        return True

    def open(self) -> None:
        """Let everybody through."""
        self._is_open.set()


def probe_threads() -> list[threading.Thread]:
    """Threads of probes that are not over."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("peft-studio-probe")]


def left_probes() -> list[threading.Thread]:
    """Threads of probes that do not end."""
    for thread in probe_threads():
        thread.join(10)
    return probe_threads()

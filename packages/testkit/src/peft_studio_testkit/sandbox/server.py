"""Applications on loopback: uvicorn in a thread with an event loop of its own.

uvicorn's own main loop looks every 0.1 s whether it shall stop; here the listeners are closed directly, so that
starting and stopping take milliseconds, and a listener can be closed for a while under the same port.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import uvicorn
from starlette.types import ASGIApp

from peft_studio.errors import InvalidConfig
from peft_studio_testkit.sandbox.exchange import abort

Answer = TypeVar("Answer")

HOST: Final = "127.0.0.1"
#: A handler that has been cancelled must end within so many seconds.
PATIENCE: Final = 5.0
#: Steps of an event loop from an accepted connection to one that the server knows.
_STEPS_TO_ACCEPT: Final = 3


class Listener:
    """One application on one port."""

    def __init__(self, app: ASGIApp, port: int = 0) -> None:
        self._reservation = _reserve(port)  # keeps the port ours while nobody listens on it
        self.port: int = self._reservation.getsockname()[1]
        # Connections stay until the client closes them, so that a client's leak can be seen.
        config = uvicorn.Config(
            app, http="h11", ws="auto", lifespan="off", log_config=None, access_log=False,
            date_header=False, server_header=False, timeout_keep_alive=86400,
        )  # fmt: skip
        config.load()
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)
        self._server.servers = []

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{HOST}:{self.port}"

    @property
    def is_open(self) -> bool:
        """True while it listens."""
        return bool(self._server.servers)

    @property
    def connections(self) -> int:
        """How many clients hold a connection."""
        return len(self._server.server_state.connections)

    async def open(self) -> None:
        """Listen."""
        await self._server.startup(sockets=[_bind(self.port)])

    async def refuse(self) -> None:
        """Listen no more; connections that are open are reset, and those that were just being accepted."""
        loop = asyncio.get_running_loop()
        servers, self._server.servers = self._server.servers, []
        for listening in (each for server in servers for each in server.sockets):
            loop.remove_reader(listening.fileno())
        for _ in range(_STEPS_TO_ACCEPT):  # asyncio forgets to close what it has accepted for a server that is closed
            await asyncio.sleep(0)
        for server in servers:
            server.close()
        self.abort()
        await asyncio.sleep(0)  # a reset connection is let go in the next step of the loop

    def abort(self) -> None:
        """Reset every open connection and stop the handlers."""
        for connection in list(self._server.server_state.connections):
            abort(connection.transport)
        for task in list(self._server.server_state.tasks):
            task.cancel()

    async def quiet(self, patience: float = PATIENCE) -> None:
        """Wait until no handler runs. Raises `RuntimeError` when one does not end in so many seconds."""
        tasks = [task for task in self._server.server_state.tasks if task is not asyncio.current_task()]
        if not tasks:
            return
        _, alive = await asyncio.wait(tasks, timeout=patience)
        if alive:
            why = "wait with `await sandbox.clock.sleep(...)`, not with time.sleep"
            raise RuntimeError(f"a handler of the sandbox does not end: {why}")

    def dispose(self) -> None:
        """Give the port back."""
        self._reservation.close()


class ServerThread:
    """The thread, its loop, and the way into it from any other thread."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="sandbox", daemon=True)
        self._thread.start()

    def call(self, function: Callable[..., Coroutine[Any, Any, Answer]], *arguments: Any) -> Answer:
        """Run a coroutine function in the server's loop and return its answer. Raises what it raises."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("a handler cannot wait for its own server; call this from another thread")
        return asyncio.run_coroutine_threadsafe(function(*arguments), self._loop).result()

    def stop(self) -> None:
        """End the loop and the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()


def _reserve(port: int) -> socket.socket:
    try:
        return _bind(port)
    except OSError as error:
        remedy = "choose another port, or none to get a free one"
        raise InvalidConfig(f"port {port} cannot be used", why=error.strerror, remedy=remedy) from error


def _bind(port: int) -> socket.socket:
    # asyncio sends without delay only where the protocol is named; otherwise each answer takes 40 ms.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((HOST, port))
    except OSError:
        bound.close()
        raise
    return bound

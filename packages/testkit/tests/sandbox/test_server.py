"""The server below the sandboxes: its thread, its port, and handlers that do not end."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import warnings

import pytest

from peft_studio_testkit.sandbox.server import Listener, ServerThread


@pytest.fixture
def thread():
    """A thread with an event loop."""
    thread = ServerThread()
    yield thread
    thread.stop()


async def _stubborn(scope, receive, send) -> None:
    """An application that does not let itself be stopped, for half a second."""
    for _ in range(2):
        try:
            await asyncio.sleep(0.5)
        except asyncio.CancelledError:
            continue


def test_a_handler_that_does_not_end_is_told(thread):
    """The sentence says what handlers should do instead."""
    listener = Listener(_stubborn)
    thread.call(listener.open)
    with socket.create_connection(("127.0.0.1", listener.port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        while not listener._server.server_state.tasks:
            pass
        thread.call(_run, listener.abort)
        with pytest.raises(RuntimeError, match=r"does not end: wait with `await sandbox.clock.sleep"):
            thread.call(listener.quiet, 0.05)
        thread.call(listener.quiet)
    thread.call(listener.refuse)
    listener.dispose()


def test_a_refused_port_is_kept(thread):
    """While nobody listens, the system gives the port to nobody else."""
    listener = Listener(_stubborn)
    thread.call(listener.open)
    thread.call(listener.refuse)
    assert not listener.is_open
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", listener.port))
    thread.call(listener.open)
    socket.create_connection(("127.0.0.1", listener.port)).close()
    thread.call(listener.refuse)
    listener.dispose()


def test_answers_are_sent_at_once(thread):
    """Without Nagle's delay on either end of a connection; a suite of many requests would feel it."""
    listener = Listener(_stubborn)
    thread.call(listener.open)
    with socket.create_connection(("127.0.0.1", listener.port)):
        while not listener.connections:
            pass
        (connection,) = listener._server.server_state.connections
        accepted = connection.transport.get_extra_info("socket")
        assert 0 != accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    thread.call(listener.refuse)
    listener.dispose()


def test_a_handler_cannot_wait_for_its_own_server(thread):
    """Calling into the loop from inside it would wait for ever; it is refused instead."""

    async def inside() -> None:
        thread.call(asyncio.sleep, 0)

    with pytest.raises(RuntimeError, match="from another thread"):
        thread.call(inside)


async def _run(function) -> None:
    function()


def test_a_connection_that_comes_with_the_end_is_closed():
    """It would be forgotten by asyncio; Python tells of each socket that nobody closed."""
    forgotten = []
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()  # what other tests have left is theirs
    for _ in range(50):
        thread, listener = ServerThread(), Listener(_stubborn)
        thread.call(listener.open)
        socket.create_connection(("127.0.0.1", listener.port)).close()
        thread.call(listener.refuse)
        thread.stop()
        listener.dispose()
    before, sys.unraisablehook = sys.unraisablehook, lambda unraisable: forgotten.append(unraisable.exc_value)
    try:
        del thread, listener
        gc.collect()
    finally:
        sys.unraisablehook = before

    assert [] == forgotten

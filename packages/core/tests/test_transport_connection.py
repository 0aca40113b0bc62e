"""Connections: reused, bounded, closed; proxies and certificates of the environment."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from peft_studio import (
    ConnectionFailed,
    InvalidConfig,
    JobNotFound,
    Transport,
)

READY = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n["x"]'
CERTIFICATE = Path(__file__).with_name("loopback.pem")
#: Signed by itself, no authority, with the name of no host.
LEAF = Path(__file__).with_name("leaf.pem")


@pytest.fixture
async def transport(server: Any) -> AsyncIterator[Transport]:
    """A client of the platform, quick to give up on silence."""
    async with Transport(f"{server.url}/v1", timeout=7, retries=2) as opened:
        yield opened


async def hang(request: Any, writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def test_connection_is_reused(server: Any, transport: Transport) -> None:
    """Requests in a row need one."""
    server.steps = [server.reply(body=1)]

    for _ in range(5):
        await transport.get("jobs")

    assert 1 == server.open_connections


async def test_close_leaves_nothing_open(server: Any, transport: Transport) -> None:
    """Twice is fine; whoever asks afterwards is told."""
    server.steps = [server.reply(body=1)]
    await transport.get("jobs")

    await transport.close()
    await transport.close()

    await server.until_closed()
    with pytest.raises(ConnectionFailed, match="is closed"):
        await transport.get("jobs")
    assert 1 == len(server.requests)


async def test_close_ends_what_is_under_way(server: Any) -> None:
    """A request that waits is not asked again behind the back of who closed."""
    server.steps = [hang]
    transport = Transport(server.url, timeout=30)
    asking = asyncio.create_task(transport.get("jobs"))
    await server.was_asked.wait()

    await transport.close()

    with pytest.raises(ConnectionFailed, match="is closed"):
        await asking
    await server.until_closed()
    assert 1 == len(server.requests)


async def test_close_is_the_reason_that_is_told(server: Any) -> None:
    """Not the lost connection that follows from it."""
    server.steps = [hang]
    transport = Transport(server.url, timeout=30)
    asking = asyncio.create_task(transport.post("jobs", json={}))
    await server.was_asked.wait()

    await transport.close()

    with pytest.raises(ConnectionFailed, match="is closed"):
        await asking


async def test_body_that_nobody_reads_holds_no_connection(server: Any, transport: Transport) -> None:
    """However many redirects with a page come, the pool does not run dry."""
    server.steps = [server.reply(302, b"x" * 10_000, Location="/elsewhere"), READY] * 40

    for _ in range(40):
        assert ["x"] == await transport.get("jobs")

    await transport.close()
    await server.until_closed()


async def test_cancelled_request_leaves_no_connection(server: Any) -> None:
    """The connection of a cancelled task is closed at once, and the transport can still be used."""
    server.steps = [hang, READY]
    async with Transport(server.url, timeout=30) as transport:
        asking = asyncio.create_task(transport.get("jobs"))
        await server.was_asked.wait()

        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

        await server.until_closed()
        assert ["x"] == await transport.get("jobs")


async def test_many_requests_at_once_share_a_bounded_pool(server: Any) -> None:
    """All are answered, over 32 connections at most."""
    most = 0

    async def answer(request: Any, writer: asyncio.StreamWriter) -> None:
        nonlocal most
        most = max(most, server.open_connections)
        await asyncio.sleep(0.01)
        writer.write(READY)
        await writer.drain()

    server.steps = [answer]
    async with Transport(server.url) as transport:
        answers = await asyncio.gather(*(transport.get("jobs", str(number)) for number in range(100)))

    assert [["x"]] * 100 == answers
    assert 1 < most <= 32


def test_one_transport_serves_one_loop_after_the_other(threaded_server: str) -> None:
    """What a loop has left behind when it ended is replaced in the next one."""
    transport = Transport(threaded_server)

    for _ in range(2):
        assert {} == asyncio.run(transport.get("jobs"))


def test_importing_it_loads_no_http_library() -> None:
    """It is imported when the first transport is made."""
    program = """
import sys, peft_studio.transport
assert not {"httpx2", "httpcore2", "anyio", "h11"} & set(sys.modules), "loaded too early"
peft_studio.Transport("https://acme.dev")
assert "httpx2" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_missing_library_is_named() -> None:
    """With the command that installs it."""
    program = """
import sys
sys.modules["httpx2"] = None
from peft_studio import PeftStudioError, Transport
try:
    Transport("https://acme.dev")
except PeftStudioError as error:
    assert error.remedy == "pip install 'peft-studio[http]'", error.remedy
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert "the HTTP library is not installed" in done.stdout


def test_transport_serves_one_loop_at_a_time(threaded_server: str) -> None:
    """Two at once would share connections that belong to the first."""
    transport = Transport(threaded_server)

    async def use_and_wait() -> None:
        await transport.get("jobs")
        with pytest.raises(ConnectionFailed, match="in use by another event loop"):
            await asyncio.to_thread(asyncio.run, transport.get("jobs"))
        await transport.close()

    asyncio.run(use_and_wait())


# The environment.


async def test_proxy_of_the_environment_is_used(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the host is excepted."""
    server.steps = [READY]
    monkeypatch.setenv("HTTP_PROXY", server.url)
    monkeypatch.setenv("http_proxy", server.url)

    async with Transport("http://acme.invalid", retries=0) as transport:
        assert ["x"] == await transport.get("jobs")
    assert "http://acme.invalid/jobs" == server.requests[0].target

    monkeypatch.setenv("NO_PROXY", "acme.invalid")
    monkeypatch.setenv("no_proxy", "acme.invalid")
    async with Transport("http://acme.invalid", retries=0) as transport:
        with pytest.raises(ConnectionFailed):
            await transport.get("jobs")
    assert 1 == len(server.requests)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "ALL_PROXY"])
async def test_environment_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """Not as a fault of the platform."""
    monkeypatch.setenv(variable, "nothing://here")

    async with Transport("http://acme.invalid") as transport:
        with pytest.raises(InvalidConfig, match="proxy or certificates of the environment"):
            await transport.get("jobs")


async def test_certificate_of_the_environment_is_trusted(
    encrypted_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no other one: an unknown certificate is no answer."""
    encrypted_server.steps = [READY]

    async with Transport(encrypted_server.url, retries=0) as transport:
        with pytest.raises(ConnectionFailed, match="certificate verify failed"):
            await transport.get("jobs")
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    async with Transport(encrypted_server.url, retries=0) as transport:
        assert ["x"] == await transport.get("jobs")


async def test_download_never_leaves_encryption(
    encrypted_server: Any, server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A redirect from https to http is not followed, even without a token."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    encrypted_server.steps = [server.reply(302, Location=f"{server.url}/file")]
    server.steps = [server.reply(200, b"file", kind="application/octet-stream")]

    async with Transport(encrypted_server.url, retries=0) as transport:
        with pytest.raises(ConnectionFailed, match="it is not encrypted"):
            await transport.download("file", file=tmp_path / "file")

    assert [] == server.requests


async def test_a_pinned_certificate_is_the_only_one(own_server: Any) -> None:
    """A rented machine has no authority behind it and no name: its own certificate is trusted, and no other one is."""
    own_server.steps = [READY]

    async with Transport(own_server.url, certificate=LEAF.read_text(), retries=0) as transport:
        assert ["x"] == await transport.get("jobs")
    async with Transport(own_server.url, certificate=CERTIFICATE.read_text(), retries=0) as transport:
        with pytest.raises(ConnectionFailed, match="certificate verify failed"):
            await transport.get("jobs")


@pytest.mark.parametrize(
    "text", ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_pinned_certificate_must_be_one(text: str) -> None:
    """Told when the transport is made, not at the first request."""
    with pytest.raises(InvalidConfig, match="the certificate cannot be used"):
        Transport("https://127.0.0.1", certificate=text)


async def test_head_gives_the_headers(server: Any, transport: Transport) -> None:
    """Named in lower case; a missing address is the error that the caller chose."""
    server.steps = [
        b"HTTP/1.1 200 OK\r\nUpload-Offset: 7\r\nContent-Length: 99\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    ]
    assert "7" == (await transport.head("inputs", "abc"))["upload-offset"]
    with pytest.raises(JobNotFound):
        await transport.head("inputs", "abc", missing=JobNotFound)

    assert ["HEAD", "HEAD"] == [request.method for request in server.requests]


async def test_head_is_asked_again_and_follows_within_the_origin(server: Any, transport: Transport) -> None:
    """It changes nothing, as GET."""
    server.steps = [None, server.reply(307, Location=f"{server.url}/v2/inputs"), b"HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\n"]

    assert "1" == (await transport.head("inputs"))["x-a"]
    assert ["/v1/inputs", "/v1/inputs", "/v2/inputs"] == [request.path for request in server.requests]
    assert {"HEAD"} == {request.method for request in server.requests}

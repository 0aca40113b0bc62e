"""What is asked again, what is sent once, and where a redirect may lead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from peft_studio import (
    ConnectionFailed,
    PeftStudioError,
    Transport,
)
from peft_studio._transport.errors import pause

TOKEN = "sk-canary-0123456789"
READY = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n["x"]'


@pytest.fixture
async def transport(server: Any) -> AsyncIterator[Transport]:
    """A client of the platform, quick to give up on silence."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with Transport(f"{server.url}/v1", headers=headers, secrets=[TOKEN], timeout=1, retries=2) as opened:
        yield opened


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """A JSON answer without Content-Length."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end


async def hang(request: Any, writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


NO_ANSWER: dict[str, Any] = {
    "reset": None,
    "closed": b"",
    "500": b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
    "cut short": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
    "cut in chunks": chunked(b'{"a":', end=b""),
    "no HTTP": b"220 smtp.acme.dev ready\r\n",
    "silence": hang,
}


def then_close(step: Any) -> Any:
    """Write, then close the connection."""

    async def write(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(step)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        raise ConnectionResetError

    return write if isinstance(step, bytes) else step


@pytest.mark.parametrize("fault", NO_ANSWER.values(), ids=NO_ANSWER.keys())
async def test_reading_is_asked_again(server: Any, transport: Transport, fault: Any) -> None:
    """Two lost answers are hidden by the third."""
    server.steps = [then_close(fault), then_close(fault), READY]

    assert ["x"] == await transport.get("jobs")
    assert 3 == len(server.requests)


@pytest.mark.parametrize("fault", NO_ANSWER.values(), ids=NO_ANSWER.keys())
async def test_reading_ends_after_the_retries(server: Any, transport: Transport, fault: Any) -> None:
    """With a sentence that says what was asked, and how it ended."""
    server.steps = [then_close(fault)]

    with pytest.raises(
        ConnectionFailed, match=rf"^GET {server.url}/v1/jobs (got no answer|broke off|answered 500): \w+"
    ):
        await transport.get("jobs")

    assert 3 == len(server.requests)


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
@pytest.mark.parametrize("fault", NO_ANSWER.values(), ids=NO_ANSWER.keys())
async def test_what_may_change_something_is_sent_once(
    server: Any, transport: Transport, method: str, fault: Any
) -> None:
    """A create whose answer is lost may have happened."""
    server.steps = [then_close(fault), READY]

    with pytest.raises(ConnectionFailed):
        await getattr(transport, method)("jobs", json={})

    assert 1 == len(server.requests)


@pytest.mark.parametrize("method", ["post", "put", "delete"])
async def test_idempotent_request_is_sent_again(server: Any, transport: Transport, method: str) -> None:
    """Its author says that twice is the same as once."""
    server.steps = [None, READY]

    assert ["x"] == await getattr(transport, method)("jobs", json={"a": 1}, idempotent=True)
    assert [b'{"a":1}'] * 2 == [request.body for request in server.requests]


async def test_stream_is_sent_once_even_when_idempotent(server: Any, transport: Transport) -> None:
    """It has been read and is gone."""
    server.steps = [None, READY]

    async def stream() -> AsyncIterator[bytes]:
        yield b"once"

    with pytest.raises(ConnectionFailed):
        await transport.post("logs", content=stream(), idempotent=True)

    assert 1 == len(server.requests)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 422])
async def test_refusal_is_not_asked_again(server: Any, transport: Transport, status: int) -> None:
    """The platform has answered."""
    server.steps = [server.reply(status), READY]

    with pytest.raises(PeftStudioError):
        await transport.get("jobs")

    assert 1 == len(server.requests)


@pytest.mark.parametrize("status", [429, 503])
async def test_short_pause_is_waited_for(server: Any, transport: Transport, status: int) -> None:
    """When reading; a create is never sent again."""
    server.steps = [server.reply(status, Retry_After="0.01"), READY]

    assert ["x"] == await transport.get("jobs")
    server.requests.clear()
    with pytest.raises(PeftStudioError):
        await transport.post("jobs", json={})
    assert 1 == len(server.requests)


@pytest.mark.parametrize("way", ["get", "download", "events"])
async def test_pause_is_kept(server: Any, transport: Transport, tmp_path: Path, way: str) -> None:
    """Nothing is asked before the time that the platform has named."""
    server.steps = [server.reply(503, Retry_After="5"), READY]
    asking = {
        "get": lambda: transport.get("file"),
        "download": lambda: transport.download("file", file=tmp_path / "file"),
        "events": lambda: anext(transport.events("file")),
    }

    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asking[way](), 0.3)

    assert 1 == len(server.requests)


async def test_long_pause_of_a_broken_platform_is_not_waited_for(server: Any, transport: Transport) -> None:
    """An hour of maintenance is the caller's to wait for."""
    server.steps = [server.reply(503, {"message": "maintenance"}, Retry_After="3600"), READY]

    with pytest.raises(ConnectionFailed, match="maintenance"):
        await transport.get("jobs")

    assert 1 == len(server.requests)


def test_pauses_grow_and_differ() -> None:
    """A tenth of a second first, then twice as long each time up to ten; clients do not march in step."""
    for number, longest in [(0, 0.1), (1, 0.2), (2, 0.4), (20, 10), (200, 10)]:
        pauses = {pause(number) for _ in range(20)}
        assert longest / 2 <= min(pauses)
        assert max(pauses) <= longest
        assert 1 < len(pauses)
    assert 3 == pause(0, wait=3)


async def test_refused_connection_is_no_answer(server: Any, transport: Transport) -> None:
    """In the words of the operating system."""
    await server.stop()

    with pytest.raises(ConnectionFailed, match="got no answer: Connection refused"):
        await transport.get("jobs")


async def test_unknown_host_is_no_answer() -> None:
    """A name that never exists."""
    async with Transport("http://acme.invalid", retries=0, timeout=5) as transport:
        with pytest.raises(ConnectionFailed, match=r"GET http://acme\.invalid/jobs got no answer: \w+"):
            await transport.get("jobs")


# Redirects.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_reading_follows_within_the_origin(server: Any, transport: Transport, status: int) -> None:
    """With the same headers; the address may be relative."""
    server.steps = [server.reply(status, Location="../v2/jobs?page=1"), READY]

    assert ["x"] == await transport.get("jobs")
    assert "/v2/jobs?page=1" == server.requests[1].target
    assert f"Bearer {TOKEN}" == server.requests[1].headers["authorization"]


async def test_redirects_end(server: Any, transport: Transport) -> None:
    """A circle is left after five."""
    server.steps = [server.reply(302, Location="/v1/jobs")]

    with pytest.raises(ConnectionFailed, match="redirected more than 5 times"):
        await transport.get("jobs")

    assert 6 == len(server.requests)


@pytest.mark.parametrize("method", ["get", "post", "put", "delete"])
async def test_no_call_leaves_its_origin(server: Any, elsewhere: Any, transport: Transport, method: str) -> None:
    """Both origins are named; nothing arrives at the other one."""
    elsewhere.steps = [READY]
    server.steps = [server.reply(302, Location=f"{elsewhere.url}/v1/jobs?key=value")]

    with pytest.raises(ConnectionFailed) as caught:
        await getattr(transport, method)("jobs")

    sentence = f"{method.upper()} {server.url}/v1/jobs was redirected to {elsewhere.url}: that is another origin"
    assert sentence == str(caught.value)
    assert [] == elsewhere.requests
    assert 0 == elsewhere.open_connections


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_create_follows_no_redirect(server: Any, transport: Transport, status: int) -> None:
    """Not even within the origin: it would be sent twice."""
    server.steps = [server.reply(status, Location="/v2/jobs"), READY]

    with pytest.raises(ConnectionFailed, match=f"was redirected to {server.url}: it is not sent twice"):
        await transport.post("jobs", json={}, idempotent=True)

    assert 1 == len(server.requests)


@pytest.mark.parametrize("location", [None, "http://[", "http://acme.dev:port/", "file:///etc/passwd", "javascript:1"])
async def test_redirect_to_nowhere_is_no_answer(server: Any, transport: Transport, location: str | None) -> None:
    """An address that cannot be followed."""
    server.steps = [server.reply(302, **({} if location is None else {"Location": location}))]

    with pytest.raises(ConnectionFailed, match="redirect"):
        await transport.get("jobs")


async def test_cookies_are_not_kept(server: Any, transport: Transport) -> None:
    """A token is all that identifies us."""
    server.steps = [server.reply(body=1, Set_Cookie="session=1; Path=/")]

    await transport.get("jobs")
    await transport.get("jobs")

    assert "cookie" not in server.requests[1].headers

"""API calls: addresses, answers, errors, what is repeated and what is not."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from peft_studio import (
    ConnectionFailed,
    InsufficientCreditsError,
    InvalidConfig,
    InvalidCredentials,
    JobNotFound,
    PeftStudioError,
    PlatformError,
    RateLimitError,
    Transport,
)
from peft_studio._transport_answers import retry_after
from peft_studio._transport_errors import pause

TOKEN = "sk-canary-0123456789"


@pytest.fixture
async def transport(server: Any) -> AsyncIterator[Transport]:
    """A client of the platform, quick to give up on silence."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with Transport(f"{server.url}/v1", headers=headers, secrets=[TOKEN], timeout=0.3, retries=2) as opened:
        yield opened


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """A JSON answer without Content-Length."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end


async def hang(request: Any, writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


# Addresses and requests.


async def test_get_gives_the_parsed_answer(server: Any, transport: Transport) -> None:
    """Segments follow the base address; a query may hold flags and lists; the headers go along."""
    server.steps = [server.reply(body={"id": "7"})]

    assert {"id": "7"} == await transport.get("jobs", "7", query={"full": True, "tag": ["a", "b"], "none": None})
    (request,) = server.requests
    assert "/v1/jobs/7?full=true&tag=a&tag=b" == request.target
    assert f"Bearer {TOKEN}" == request.headers["authorization"]


@pytest.mark.parametrize(
    ("segment", "sent"),
    [
        ("a/b", "a%2Fb"),
        ("a?b=c", "a%3Fb%3Dc"),
        ("a#b", "a%23b"),
        ("%2e%2e", "%252e%252e"),
        ("é", "%C3%A9"),
        ("a b", "a%20b"),
    ],
)
async def test_segment_stays_in_its_place(server: Any, transport: Transport, segment: str, sent: str) -> None:
    """Whatever an id holds, it is one segment of the path."""
    server.steps = [server.reply(body=1)]

    await transport.get("jobs", segment, "logs")

    assert f"/v1/jobs/{sent}/logs" == server.requests[0].target


@pytest.mark.parametrize("segment", ["", ".", "..", " ", None, "\ud800"])
async def test_segment_that_leads_elsewhere_is_refused(server: Any, transport: Transport, segment: Any) -> None:
    """An empty id would ask for the whole collection, two dots for its parent."""
    with pytest.raises(InvalidConfig, match="part of an address"):
        await transport.delete("jobs", segment)

    assert [] == server.requests


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
async def test_json_is_sent(server: Any, transport: Transport, method: str) -> None:
    """An empty document is one too."""
    server.steps = [server.reply(body={})]

    await getattr(transport, method)("jobs", json={"é": []})
    await getattr(transport, method)("jobs", json={})

    assert ['{"é":[]}'.encode(), b"{}"] == [request.body for request in server.requests]
    assert {"application/json"} == {request.headers["content-type"] for request in server.requests}
    assert {method.upper()} == {request.method for request in server.requests}


async def test_content_is_sent_as_it_is(server: Any, transport: Transport) -> None:
    """Bytes, text or a stream; a header of one call wins over the general one, whatever its case."""
    server.steps = [server.reply(body={})]

    async def stream() -> AsyncIterator[bytes]:
        yield b"one,"
        yield b"two"

    for content in (b"bytes", "téxt", stream()):
        await transport.post("logs", content=content, headers={"AUTHORIZATION": "none"})

    assert [b"bytes", "téxt".encode(), b"one,two"] == [request.body for request in server.requests]
    assert {"none"} == {request.headers["authorization"] for request in server.requests}


@pytest.mark.parametrize("document", [{"loss": float("nan")}, {"when": object()}])
async def test_document_that_is_no_json_is_refused(server: Any, transport: Transport, document: Any) -> None:
    """It never reaches the platform."""
    with pytest.raises(InvalidConfig, match="cannot be written as JSON"):
        await transport.post("jobs", json=document)

    assert [] == server.requests


async def test_option_that_does_not_exist_is_refused(transport: Transport) -> None:
    """A typing error is not dropped."""
    with pytest.raises(TypeError, match="idempotant"):
        await transport.post("jobs", idempotant=True)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "url",
    [
        "api.acme.dev",
        "ftp://acme.dev",
        "http://",
        "http://acme.dev:port",
        "http://u:p@acme.dev",
        "http://a.dev?k=v",
        "http://a b",
    ],
)
def test_address_that_is_none_is_refused(url: str) -> None:
    """When the transport is made, not at the first request."""
    with pytest.raises(InvalidConfig, match="address of the platform"):
        Transport(url)


@pytest.mark.parametrize("value", ["key\n", " key", "clé-1", "a\r\nX-Evil: 1"])
def test_header_that_http_cannot_carry_is_refused(value: str) -> None:
    """A key pasted with its line break is a credential to mend, any other value a setting."""
    with pytest.raises(InvalidCredentials, match="X-Key cannot be sent: it holds a line break"):
        Transport("https://acme.dev", headers={"X-Key": value}, secrets=[value, value.strip()])
    with pytest.raises(InvalidConfig, match="X-Key cannot be sent"):
        Transport("https://acme.dev", headers={"X-Key": value})


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be used is named."""
    monkeypatch.setenv("PEFT_STUDIO_HTTP_TIMEOUT", "soon")
    with pytest.raises(InvalidConfig, match=r"PEFT_STUDIO_HTTP_TIMEOUT must be a number .* not 'soon'"):
        Transport("https://acme.dev")
    with pytest.raises(InvalidConfig, match="retries must be a number of at least 0, not -1"):
        Transport("https://acme.dev", timeout=1, retries=-1)


async def test_retries_of_the_environment_count(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zero is a number, not "unset"."""
    monkeypatch.setenv("PEFT_STUDIO_HTTP_RETRIES", "0")
    server.steps = [server.reply(503)]

    async with Transport(server.url) as transport:
        with pytest.raises(ConnectionFailed):
            await transport.get("jobs")

    assert 1 == len(server.requests)


# Answers.


async def test_no_content_is_none(server: Any, transport: Transport) -> None:
    """204 has no body to parse."""
    server.steps = [b"HTTP/1.1 204 No Content\r\n\r\n"]

    assert None is await transport.delete("jobs", "7")


async def test_empty_answer_is_none_only_where_it_is_expected(server: Any, transport: Transport) -> None:
    """An empty 200 is what a broken proxy sends, unless the platform is known for it."""
    server.steps = [server.reply(200)]

    assert None is await transport.delete("jobs", "7", may_be_empty=True)
    with pytest.raises(ConnectionFailed, match="but not with JSON: application/json: empty"):
        await transport.delete("jobs", "7")


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "Application/JSON", "application/vnd.acme.v2+json"]
)
async def test_json_has_many_names(server: Any, transport: Transport, kind: str) -> None:
    """All of them count."""
    server.steps = [server.reply(body=[1], kind=kind)]

    assert [1] == await transport.get("jobs")


NOT_OF_THE_PLATFORM = {
    "page": (b"<html><title>Sign in</title>", "text/html", "text/html: Sign in"),
    "text": (b"fine\nthanks", "text/plain", "text/plain: fine"),
    "nothing told": (b"{}", None, "no content type"),
    "cut": (b'{"a": [1, 2', "application/json", "application/json: "),
    "garbage": (b"\xff\xfe\x00\x80garbage", "application/json", "garbage"),
    "nested without end": (b"[" * 200_000, "application/json", r"\[\[\["),
}


@pytest.mark.parametrize("case", NOT_OF_THE_PLATFORM.values(), ids=NOT_OF_THE_PLATFORM.keys())
@pytest.mark.parametrize("status", [200, 201])
async def test_answer_of_somebody_else_is_no_answer(server: Any, transport: Transport, case: Any, status: int) -> None:
    """A login page or a cut document means that the platform was not reached; it is not asked again."""
    body, kind, words = case
    server.steps = [server.reply(status, body, kind=kind)]

    with pytest.raises(ConnectionFailed, match=rf"GET \S+/v1/jobs answered {status}, but not with JSON: .*{words}"):
        await transport.get("jobs")

    assert 1 == len(server.requests)


@pytest.mark.parametrize("status", [401, 403, 404, 400])
async def test_refusal_of_somebody_else_says_nothing(server: Any, transport: Transport, status: int) -> None:
    """A proxy's page with 404 must not look like a job that is gone."""
    server.steps = [server.reply(status, b"<html><title>Blocked</title>", kind="text/html")]

    with pytest.raises(ConnectionFailed, match="Blocked"):
        await transport.get("jobs", "7", missing=JobNotFound)


async def test_answer_beyond_the_limit_is_refused(server: Any, transport: Transport) -> None:
    """Also when a few bytes unfold to many."""
    bomb = gzip.compress(b'"' + b"a" * (65 * 2**20) + b'"')
    server.steps = [server.reply(200, bomb, Content_Encoding="gzip")]

    with pytest.raises(ConnectionFailed, match="more than 64 MiB"):
        await transport.get("jobs")


async def test_compressed_answer_is_unpacked(server: Any, transport: Transport) -> None:
    """As the request offers."""
    server.steps = [server.reply(200, gzip.compress(b"[1]"), Content_Encoding="gzip")]

    assert [1] == await transport.get("jobs")
    assert "gzip" in server.requests[0].headers["accept-encoding"]


async def test_answer_that_cannot_be_unpacked_is_no_answer(server: Any, transport: Transport) -> None:
    """Garbage under the name of gzip."""
    server.steps = [server.reply(200, b"no gzip", Content_Encoding="gzip")]

    with pytest.raises(ConnectionFailed, match="broke off"):
        await transport.get("jobs")


# Errors.


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, PlatformError),
        (401, InvalidCredentials),
        (402, InsufficientCreditsError),
        (403, InvalidCredentials),
        (404, JobNotFound),
        (409, PlatformError),
        (418, PlatformError),
        (422, PlatformError),
        (429, RateLimitError),
        (499, PlatformError),
        (500, ConnectionFailed),
        (501, ConnectionFailed),
        (503, ConnectionFailed),
        (599, ConnectionFailed),
        (300, ConnectionFailed),
        (304, ConnectionFailed),
    ],
)
async def test_status_becomes_an_error_of_our_tree(
    server: Any, transport: Transport, status: int, kind: type[PeftStudioError]
) -> None:
    """With the platform's words, and nothing more general than said here."""
    server.steps = [server.reply(status, {"error": {"message": "No such thing"}} if status != 304 else None)]

    with pytest.raises(kind) as caught:
        await transport.post("jobs", json={}, missing=JobNotFound)

    assert kind is type(caught.value)
    assert f"POST {server.url}/v1/jobs answered {status}" == caught.value.what
    assert ("Not Modified" if status == 304 else "No such thing") == caught.value.why


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"error": "text"}, "text"),
        ({"error": {"message": "nested", "code": 12}}, "nested"),
        ({"error": {"code": "E12"}}, "code: E12"),
        ({"message": "plain"}, "plain"),
        ({"detail": "FastAPI"}, "FastAPI"),
        ({"detail": [{"loc": ["body", "rank"], "msg": "too big"}]}, "body.rank: too big"),
        ({"errors": [{"message": "one"}, {"detail": "two"}]}, "one; two"),
        ({"errors": {"rank": ["too big"]}}, "rank: too big"),
        ({"title": "Problem", "detail": "details"}, "details"),
        ({"error": "invalid", "error_description": "described"}, "described"),
        ({"error": True, "msg": "flagged"}, "flagged"),
        ("just a text", "just a text"),
        (["several", "texts"], "several; texts"),
        ({"code": 7}, '{"code": 7}'),
        ({}, "{}"),
        ({"message": " two\n\x1b[31mlines "}, "two [31mlines"),
        ({"message": "x" * 400}, "x" * 299 + "…"),
        (b"first line\nsecond", "first line"),
        (b"", "Conflict"),
    ],
)
async def test_platform_is_quoted(server: Any, transport: Transport, body: Any, words: str) -> None:
    """One line of at most 300 letters, from a body of any usual shape."""
    server.steps = [server.reply(409, body, kind="text/plain" if isinstance(body, bytes) else "application/json")]

    with pytest.raises(PlatformError) as caught:
        await transport.get("jobs")

    assert words == caught.value.why


async def test_error_names_the_connector(server: Any) -> None:
    """Where it was told."""
    server.steps = [server.reply(400)]

    async with Transport(server.url, connector="acme (peft-studio-acme 1.0)") as transport:
        with pytest.raises(PlatformError, match=r"^acme \(peft-studio-acme 1\.0\): GET "):
            await transport.get("jobs")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 30),
        ({"retry-after": "Wed, 21 Oct 2015 07:27:00 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry-after": "-3"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "9" * 400}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read(headers: dict[str, str], seconds: float | None) -> None:
    """A number, or a date by the platform's own clock, which may be wrong."""
    assert seconds == retry_after(headers)


@pytest.mark.parametrize(("value", "seconds"), [("60", 60), (None, None)])
async def test_long_or_unknown_pause_is_for_the_caller(
    server: Any, transport: Transport, value: str | None, seconds: float | None
) -> None:
    """It is told in the error, and nothing is repeated."""
    server.steps = [server.reply(429, {"error": "slow down"}, **({} if value is None else {"Retry_After": value}))]

    with pytest.raises(RateLimitError) as caught:
        await transport.get("jobs")

    assert seconds == caught.value.retry_after
    assert 1 == len(server.requests)


async def test_page_with_429_is_a_rate_limit_all_the_same(server: Any, transport: Transport) -> None:
    """Gateways in front of a platform send pages; waiting does no harm."""
    server.steps = [server.reply(429, b"<html>", kind="text/html", Retry_After="9")]

    with pytest.raises(RateLimitError):
        await transport.get("jobs")


# What is repeated.

NO_ANSWER: dict[str, Any] = {
    "reset": None,
    "closed": b"",
    "500": b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
    "cut short": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
    "cut in chunks": chunked(b'{"a":', end=b""),
    "no HTTP": b"220 smtp.acme.dev ready\r\n",
    "silence": hang,
}
READY = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n["x"]'


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

    assert server.url in str(caught.value) if method == "get" else True
    assert elsewhere.url in str(caught.value) if method == "get" else True
    assert [] == elsewhere.requests
    assert 0 == elsewhere.open_connections


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_create_follows_no_redirect(server: Any, transport: Transport, status: int) -> None:
    """Not even within the origin: it would be sent twice."""
    server.steps = [server.reply(status, Location="/v2/jobs"), READY]

    with pytest.raises(ConnectionFailed, match=f"answered {status}, a redirect"):
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


# Life of the connection.


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

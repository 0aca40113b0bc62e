"""API calls: what is sent, and what a good answer is."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from typing import Any

import pytest

from peft_studio import (
    ConnectionFailed,
    InvalidConfig,
    InvalidCredentials,
    JobNotFound,
    Transport,
)
from peft_studio._transport.requests import origin

TOKEN = "sk-canary-0123456789"


@pytest.fixture
async def transport(server: Any) -> AsyncIterator[Transport]:
    """A client of the platform, quick to give up on silence."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with Transport(f"{server.url}/v1", headers=headers, secrets=[TOKEN], timeout=7, retries=2) as opened:
        yield opened


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


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://acme.dev:80/a?b", "http://acme.dev"),
        ("https://ACME.dev:443", "https://acme.dev"),
        ("https://acme.dev:80", "https://acme.dev:80"),
        ("http://user:secret@[::1]:8080/", "http://[::1]:8080"),
    ],
)
def test_origin_is_scheme_host_and_port(url: str, expected: str) -> None:
    """Written in one way only, so that two of them can be compared."""
    assert expected == origin(url)

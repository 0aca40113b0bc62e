"""Errors of our tree: the right kind, in the platform's own words."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from peft_studio import (
    ConnectionFailed,
    InsufficientCreditsError,
    InvalidCredentials,
    JobNotFound,
    PeftStudioError,
    PlatformError,
    RateLimitError,
    Transport,
)
from peft_studio._transport.answers import retry_after


@pytest.fixture
async def transport(server: Any) -> AsyncIterator[Transport]:
    """A client of the platform, quick to give up on silence."""
    async with Transport(f"{server.url}/v1", timeout=7, retries=2) as opened:
        yield opened


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

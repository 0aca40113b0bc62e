"""What a transport remembers of the answers: clock, rate limit, the number of the request."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from peft_studio import InvalidCredentials, RateLimit, RateLimitError, Transport
from peft_studio._transport.observed import Observer, clock_skew, rate_limit

TOKEN = "sk-canary-0123456789"
#: A moment, as seconds since 1970 and as a date.
NOW = 1_800_000_000.0
TODAY = datetime.fromtimestamp(NOW, UTC)


@pytest.fixture(autouse=True)
def far_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose own time is not UTC."""
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
async def transport(server: Any) -> AsyncIterator[Transport]:
    """A client of the platform that does not ask twice."""
    async with Transport(server.url, secrets=[TOKEN], timeout=5, retries=0) as opened:
        yield opened


def after(seconds: float) -> datetime:
    """That many seconds after `NOW`."""
    return TODAY + timedelta(seconds=seconds)


async def test_nothing_is_known_before_an_answer(transport: Transport) -> None:
    """No answer is not an answer that says nothing."""
    assert transport.observed is None


async def test_the_last_answer_is_remembered(server: Any, transport: Transport) -> None:
    """With its number, when it came, and what it says of clock and limit."""
    date = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    headers = {"Date": date, "X_RateLimit_Remaining": "7", "X_RateLimit_Limit": "60", "X_Request_Id": "r-1"}
    server.steps = [server.reply(body={}, **headers)]
    await transport.get("account")

    assert transport.observed is not None
    assert RateLimit(remaining=7, limit=60) == transport.observed.rate_limit
    assert "r-1" == transport.observed.request_id
    assert transport.observed.clock_skew == pytest.approx(3600, abs=30)
    assert timedelta(seconds=30) > datetime.now(UTC) - transport.observed.at


async def test_what_an_answer_does_not_mention_stays(server: Any, transport: Transport) -> None:
    """Many platforms tell their limits on some paths only; the number belongs to one request."""
    server.steps = [server.reply(body={}, RateLimit_Remaining="7", X_Request_Id="r-1"), server.reply(body={})]
    await transport.get("account")
    await transport.get("account")

    assert transport.observed is not None
    assert RateLimit(remaining=7) == transport.observed.rate_limit
    assert transport.observed.request_id is None


async def test_another_origin_is_not_listened_to(server: Any, elsewhere: Any, transport: Transport, tmp_path) -> None:
    """A download may lead to a storage, which has limits and a clock of its own."""
    server.steps = [server.reply(302, Location=f"{elsewhere.url}/there", X_RateLimit_Remaining="7")]
    elsewhere.steps = [elsewhere.reply(body=b"here", X_RateLimit_Remaining="3", X_Request_Id="theirs")]
    await transport.download("file", file=tmp_path / "file")

    assert transport.observed is not None
    assert RateLimit(remaining=7) == transport.observed.rate_limit
    assert transport.observed.request_id is None


async def test_an_error_carries_what_was_observed(server: Any, transport: Transport) -> None:
    """Who is refused wants to know the limit, and a key that a wrong clock makes invalid looks like any other."""
    wrong = format_datetime(datetime.now(UTC) - timedelta(hours=1), usegmt=True)
    server.steps = [
        server.reply(429, {}, X_RateLimit_Remaining="0"),
        server.reply(401, {}, Date=wrong),
    ]
    with pytest.raises(RateLimitError) as limited:
        await transport.get("account")
    with pytest.raises(InvalidCredentials) as refused:
        await transport.get("account")

    assert RateLimit(remaining=0) == limited.value.observed.rate_limit
    assert refused.value.observed.clock_skew == pytest.approx(-3600, abs=30)


async def test_an_error_without_an_answer_knows_of_none(server: Any, transport: Transport) -> None:
    """The connection was reset before anything was said."""
    server.steps = [None]
    with pytest.raises(ConnectionError) as lost:
        await transport.get("account")

    assert lost.value.observed is None


async def test_the_number_of_a_request_holds_no_secret(server: Any, transport: Transport) -> None:
    """A platform that answers with what it was sent is masked; a long one is cut."""
    server.steps = [server.reply(body={}, X_Request_Id=TOKEN + "x" * 200)]
    await transport.get("account")

    assert "***" + "x" * 97 == transport.observed.request_id


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x-ratelimit-remaining": "7"}, RateLimit(remaining=7)),
        ({"ratelimit-remaining": "7", "ratelimit-limit": "60, 60;w=60", "ratelimit-reset": "30"}, (7, 60, 30)),
        ({"x-rate-limit-remaining": "7", "x-rate-limit-limit": "60", "x-rate-limit-reset": "1.5"}, (7, 60, 1.5)),
        ({"X-RateLimit-Remaining": "7", "X-RateLimit-Reset": f"{NOW + 30:.0f}"}, (7, None, 30)),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": f"{(NOW + 30) * 1000:.0f}"}, (7, None, 30)),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": "6m0s"}, (7, None, 360)),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": "1h0m2.5s"}, (7, None, 3602.5)),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": "20ms"}, (7, None, 0.02)),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": after(30).isoformat()}, (7, None, 30)),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": "2027-01-15T08:00:30Z"}, (7, None, 30)),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": "2027-01-15T08:00:30"}, (7, None, 30)),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": "soon"}, (7, None, None)),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": "9" * 13}, (7, None, (1e13 - 1) / 1000 - NOW)),
        (
            {"x-ratelimit-remaining-requests": "7", "x-ratelimit-limit-requests": "60"}
            | {"x-ratelimit-remaining-tokens": "1"},
            (7, 60, None),
        ),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-remaining-requests": "5"}, (5, None, None)),
        ({"ratelimit": "limit=60, remaining=7, reset=30"}, (7, 60, 30)),
        ({"ratelimit": '"default";r=7;t=30', "ratelimit-policy": '"default";q=60;w=60'}, (7, 60, 30)),
        ({"ratelimit": '"a";r=9;t=30, "b";r=7;t=5', "ratelimit-policy": '"a";q=60, "b";q=8'}, (7, 8, 5)),
        ({"ratelimit": "one; r=7; t=30", "ratelimit-policy": "one; q=60"}, (7, 60, 30)),
        ({"ratelimit": '"api";r=7;t=30', "ratelimit-policy": '"fixed window";"api";q=500;w=300'}, (7, 500, 30)),
        ({"ratelimit": '"default";pk=:cHsdsRa894==:;r=7'}, (7, None, None)),
        ({"x-ratelimit-remaining": "many"}, None),
        ({"x-ratelimit-remaining": "-1"}, None),
        ({"x-ratelimit-limit": "60", "x-ratelimit-reset": "30"}, None),
        ({"ratelimit": '"default";t=30'}, None),
        ({}, None),
    ],
)
def test_limits_are_told_in_many_ways(headers: dict[str, str], expected: Any) -> None:
    """Remaining, limit, and when it begins anew; what is not told is None."""
    if isinstance(expected, tuple):
        remaining, limit, seconds = expected
        resets = None if seconds is None else after(seconds)
        expected = RateLimit(remaining=remaining, limit=limit, resets=resets)

    lower = {name.lower(): value for name, value in headers.items()}
    assert expected == rate_limit(lower, NOW)


def test_a_date_of_the_platform_is_told_by_our_clock() -> None:
    """It says 30 s from now, and its clock is an hour ahead."""
    observer = Observer("origin", str)
    theirs = after(3600)
    date = {"date": format_datetime(theirs, usegmt=True)}
    end = f"{theirs.timestamp() + 30:.0f}"
    observer.note("origin", {**date, "x-ratelimit-remaining": "1", "x-ratelimit-reset": end}, NOW, NOW + 1)

    assert observer.observed is not None
    assert RateLimit(remaining=1, resets=after(30)) == observer.observed.rate_limit


@pytest.mark.parametrize(
    ("seconds", "sent", "expected"),
    [
        (0, 0.0, 0.0),
        (0, -3.0, 0.0),
        (-2, -3.0, 0.0),
        (-1, -0.1, 0.0),
        (-2, -0.1, -1.5),
        (1, 0.0, 1.5),
        (-90, 0.0, -89.5),
        (100, -10.0, 105.5),
    ],
)
def test_the_clock_is_compared_as_far_as_a_date_can_tell(seconds: int, sent: float, expected: float) -> None:
    """It is a whole second, written at some time between request and answer; within that there is no difference."""
    date = format_datetime(after(seconds), usegmt=True)

    assert expected == pytest.approx(clock_skew({"date": date}, NOW + sent, NOW), abs=0.06)


def test_an_answer_from_a_cache_is_as_old_as_it_says() -> None:
    """Its date is when the platform wrote it."""
    date = format_datetime(after(-100), usegmt=True)

    assert 0.0 == clock_skew({"date": date, "age": "100"}, NOW, NOW)
    assert clock_skew({"date": date, "age": "old"}, NOW, NOW) == pytest.approx(-99.5)


@pytest.mark.parametrize("date", [None, "", "now", "Mon, 99 Jan 2027 08:00:00 GMT"])
def test_without_a_date_the_clock_is_unknown(date: str | None) -> None:
    """Unknown is None, not 0."""
    assert clock_skew({} if date is None else {"date": date}, NOW, NOW) is None


def test_a_date_without_a_zone_is_in_utc() -> None:
    """So HTTP says, whatever the zone of this machine."""
    assert 0.0 == clock_skew({"date": f"{TODAY:%a, %d %b %Y %H:%M:%S}"}, NOW, NOW)


def test_absurd_times_are_unknown() -> None:
    """A platform whose clock stands in the year 9999 has limits all the same."""
    observer = Observer("origin", str)
    headers = {"date": "Fri, 31 Dec 9999 23:59:59 GMT", "x-ratelimit-remaining": "1", "x-ratelimit-reset": str(NOW)}
    observer.note("origin", headers, NOW, NOW)

    assert observer.observed is not None
    assert RateLimit(remaining=1) == observer.observed.rate_limit

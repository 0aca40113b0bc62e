"""Server-sent events: parsed as the standard says, followed through lost connections without loss or repetition."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peft_studio import ConnectionFailed, InvalidConfig, JobNotFound, PeftStudioError, RateLimitError, Transport
from peft_studio._transport.events import _REMEMBERED, EVENT_LIMIT, EventParser, EventTooLong, Position, ServerSentEvent

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
async def transport(server: Any) -> AsyncIterator[Transport]:
    """A client of the platform, quick to give up on silence."""
    async with Transport(server.url, timeout=1, retries=2) as opened:
        yield opened


def stream(*texts: str, end: str = "clean") -> Any:
    """An event stream that ends cleanly, with a reset, or in silence."""

    async def write(request: Any, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        for text in texts:
            writer.write(b"%x\r\n%s\r\n" % (len(text.encode()), text.encode()))
            await writer.drain()
        if end == "clean":
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        elif end == "silence":
            await asyncio.Event().wait()
        else:
            await asyncio.sleep(0.02)  # let the client read what a reset would discard
            raise ConnectionResetError

    return write


def numbered(first: int, last: int) -> str:
    """Events with ids."""
    return "".join(f"id: {number}\ndata: line {number}\n\n" for number in range(first, last + 1))


def lines(first: int, last: int) -> list[str]:
    """The data of those events."""
    return [f"line {number}" for number in range(first, last + 1)]


async def read(events: AsyncGenerator[ServerSentEvent], seen: list[str] | None = None) -> list[str]:
    """The data of all events; `seen` has those that come before an error."""
    seen = [] if seen is None else seen
    async for event in events:
        seen.append(event.data)
    return seen


def parse(*chunks: bytes) -> list[ServerSentEvent]:
    """What a parser makes of the chunks."""
    parser = EventParser()
    events = [event for chunk in chunks for event in parser.feed(chunk)]
    return [*events, *parser.finish()]


# The format.


@pytest.mark.parametrize(
    ("text", "events"),
    [
        ("data: one\n\n", [ServerSentEvent("one")]),
        ("data:one\n\ndata: two\n\n", [ServerSentEvent("one"), ServerSentEvent("two")]),
        ("data: a\ndata:  b\ndata\n\n", [ServerSentEvent("a\n b\n")]),
        ("data\n\n", [ServerSentEvent("")]),
        (": ping\n\ndata: a\n:x\n\n", [ServerSentEvent("a")]),
        ("event: log\ndata: a\n\ndata: b\n\n", [ServerSentEvent("a", "log"), ServerSentEvent("b")]),
        ("id: 1\ndata: a\n\ndata: b\n\n", [ServerSentEvent("a", id="1"), ServerSentEvent("b", id="1")]),
        ("id: 1\n\ndata: b\n\n", [ServerSentEvent("b", id="1")]),
        ("id: 1\0\ndata: b\n\n", [ServerSentEvent("b")]),
        ("id: 1\ndata: a\n\nid\ndata: b\n\n", [ServerSentEvent("a", id="1"), ServerSentEvent("b")]),
        ("event: log\n\ndata: a\n\n", [ServerSentEvent("a")]),
        ("unknown: x\ndata: a: b\n\n", [ServerSentEvent("a: b")]),
        ("data: a\r\n\r\ndata: b\r\rdata: c\n\n", [ServerSentEvent("a"), ServerSentEvent("b"), ServerSentEvent("c")]),
        ("\ufeffdata: a\n\n", [ServerSentEvent("a")]),
        ("data: a\u2028b\x0b\x85c\n\n", [ServerSentEvent("a\u2028b\x0b\x85c")]),
        ("data: unfinished\n", []),
        ("data: a\r\r", [ServerSentEvent("a")]),
    ],
)
def test_events_are_read_as_the_standard_says(text: str, events: list[ServerSentEvent]) -> None:
    """Lines, fields, comments, ids that stay, blocks without data."""
    assert events == parse(text.encode())


def test_pause_is_read_from_digits_only() -> None:
    """In milliseconds; anything else is ignored."""
    parser = EventParser()

    assert [] == list(parser.feed(b"retry: 1500\nretry: soon\nretry: -1\n\n"))
    assert 1.5 == parser.retry


letters = st.text(st.characters(codec="utf-8"), max_size=5)
fields = st.sampled_from(["", "data: a", "data: €", "data", "id: 1", "id", "event: log", ": ping"]) | letters
ends = st.sampled_from(["\n", "\r", "\r\n"])
texts = st.lists(st.tuples(fields, ends).map("".join)).map("".join)


@given(texts, st.data())
def test_any_cut_gives_the_same_events(text: str, data: st.DataObject) -> None:
    """Also between CR and LF, and in the middle of a letter."""
    whole = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=10)))
    chunks = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    assert parse(whole) == parse(*chunks)
    assert parse(whole) == parse(*(bytes([byte]) for byte in whole))


@given(st.lists(st.tuples(st.text(st.characters(codec="utf-8", exclude_characters="\r\n")), st.booleans())))
def test_written_events_are_read_back(written: list[tuple[str, bool]]) -> None:
    """Whatever the data says, in either kind of line end."""
    text = "".join(f"data: {data}\r\n\r\n" if windows else f"data: {data}\n\n" for data, windows in written)

    assert [data for data, _ in written] == [event.data for event in parse(text.encode())]


@pytest.mark.parametrize("rest", [b"data", b"data: a\n", b"id: 1\n", b"event: a\n", b": pi", "€".encode()[:2]])
def test_end_between_events_is_known(rest: bytes) -> None:
    """Whatever was begun, half a letter too, is not between events."""
    parser = EventParser()

    assert [ServerSentEvent("a")] == list(parser.feed(b"data: a\n\n: ping\n"))
    assert parser.is_between_events
    assert [] == list(parser.feed(rest))
    assert not parser.is_between_events


def test_repetition_of_a_long_stream_is_known() -> None:
    """By its first id, though not every id is kept; and by any of the last ones."""
    events = [ServerSentEvent("a", id=str(number)) for number in range(_REMEMBERED * 2)]
    for start in (0, _REMEMBERED + 1, len(events) - 1):
        position = Position(None)
        assert all(position.is_new(event) for event in events)
        assert _REMEMBERED == len(position._recent)

        position.reopen()
        assert not any(position.is_new(event) for event in events[start:])
        assert position.is_new(ServerSentEvent("a", id="new"))


def test_endless_event_is_refused() -> None:
    """In one line or in many."""
    parser = EventParser()
    with pytest.raises(EventTooLong):
        list(parser.feed(b"data: " + b"a" * EVENT_LIMIT))
    parser = EventParser()
    with pytest.raises(EventTooLong):
        list(parser.feed(b"data: aaaa\n" * (EVENT_LIMIT // 10 + 1)))


# The connection.


async def test_stream_is_read_to_its_end(server: Any, transport: Transport) -> None:
    """The end that the server makes is the end."""
    server.steps = [stream(numbered(1, 2), numbered(3, 3))]

    assert lines(1, 3) == await read(transport.events("jobs", "7", "events", query={"follow": True}))
    (request,) = server.requests
    assert ("/jobs/7/events?follow=true", "text/event-stream") == (request.target, request.headers["accept"])
    assert "last-event-id" not in request.headers


async def test_events_come_at_once(server: Any, transport: Transport) -> None:
    """Not when the stream ends."""
    server.steps = [stream(numbered(1, 1), end="silence")]

    async with aclosing(transport.events("events")) as events:
        assert "line 1" == (await anext(events)).data


@pytest.mark.parametrize("end", ["reset", "silence"])
async def test_lost_stream_goes_on_where_it_was(server: Any, transport: Transport, end: str) -> None:
    """Nothing is lost and nothing comes twice, however often it breaks."""
    server.steps = [
        stream(numbered(1, 2), end=end),
        stream(end=end),
        stream(numbered(3, 3), "id: 4\ndata: not fini", end=end),
        None,
        stream(numbered(4, 5)),
    ]

    assert lines(1, 5) == await read(transport.events("events"))
    assert [None, "2", "2", "3", "3"] == [request.headers.get("last-event-id") for request in server.requests]


async def test_reading_starts_after_the_given_id(server: Any, transport: Transport) -> None:
    """As a client does that has seen the beginning in an earlier life."""
    server.steps = [stream(numbered(8, 9))]

    assert lines(8, 9) == await read(transport.events("events", last_event_id="7"))
    assert "7" == server.requests[0].headers["last-event-id"]


@pytest.mark.parametrize(("first", "last"), [(1, 5), (2, 5), (3, 5), (1, 3)])
async def test_server_that_repeats_itself_is_not_believed(
    server: Any, transport: Transport, first: int, last: int
) -> None:
    """One that ignores Last-Event-ID starts over; one that misreads it begins with the last event."""
    server.steps = [stream(numbered(1, 3), end="reset"), stream(numbered(first, last))]

    assert lines(1, last) == await read(transport.events("events"))


async def test_given_event_is_not_delivered_again(server: Any, transport: Transport) -> None:
    """By a server that begins with the event of the given id."""
    server.steps = [stream(numbered(7, 8))]

    assert lines(8, 8) == await read(transport.events("events", last_event_id="7"))


async def test_position_may_move_without_an_event(server: Any, transport: Transport) -> None:
    """A block with nothing but an id counts too."""
    server.steps = [stream(numbered(1, 1), "id: 9\n\n", end="reset"), stream(numbered(10, 10))]

    assert ["line 1", "line 10"] == await read(transport.events("events"))
    assert "9" == server.requests[1].headers["last-event-id"]


@pytest.mark.parametrize(
    "text", ["data: a\n\n", "id: 1\ndata: a\n\ndata: b\n\n", "id: 1\ndata: a\n\nid\n\n", "id: é\ndata: a\n\n"]
)
@pytest.mark.parametrize("end", ["reset", "silence"])
async def test_events_without_ids_are_not_asked_for_again(
    server: Any, transport: Transport, text: str, end: str
) -> None:
    """They could come twice: what was delivered stands, and the caller is told."""
    server.steps = [stream(text, end=end), stream("data: again\n\n")]
    seen: list[str] = []

    with pytest.raises(ConnectionFailed, match=r"GET \S+ broke off") as caught:
        await read(transport.events("events"), seen)

    assert text.count("data") == len(seen)
    assert "read the stream from its start: it does not say where to go on" == caught.value.remedy
    assert 1 == len(server.requests)


async def test_nothing_delivered_can_be_asked_again(server: Any, transport: Transport) -> None:
    """Without ids too, and after comments."""
    server.steps = [stream(": ping\n\n", end="reset"), stream("data: a\n\n")]

    assert ["a"] == await read(transport.events("events"))


@pytest.mark.parametrize("end", ["reset", "silence"])
async def test_fruitless_attempts_end(server: Any, transport: Transport, end: str) -> None:
    """Two after the loss; comments are no progress, a new event is."""
    server.steps = [
        stream(numbered(1, 1), end=end),
        stream(": ping\n\n", end=end),
        stream(numbered(2, 2), end=end),
        stream(numbered(1, 2), end=end),
        stream(end=end),
    ]
    seen: list[str] = []

    with pytest.raises(ConnectionFailed, match=r"GET \S+ broke off"):
        await read(transport.events("events"), seen)

    assert lines(1, 2) == seen
    assert 5 == len(server.requests)


async def test_end_in_the_middle_of_an_event_is_a_loss(server: Any, transport: Transport) -> None:
    """However cleanly the server closes."""
    server.steps = [stream(numbered(1, 1), "data: half\n"), stream(numbered(2, 2))]

    assert lines(1, 2) == await read(transport.events("events"))


async def test_last_line_may_end_in_a_carriage_return(server: Any, transport: Transport) -> None:
    """No line feed can follow any more."""
    server.steps = [stream("data: a\r\r")]

    assert ["a"] == await read(transport.events("events"))


async def test_refused_stream_raises(server: Any, transport: Transport) -> None:
    """As any request does, at the first event."""
    server.steps = [server.reply(404, {"detail": "no job 7"})]

    with pytest.raises(JobNotFound, match="no job 7"):
        await read(transport.events("jobs", "7", missing=JobNotFound))


@pytest.mark.parametrize(("status", "kind"), [(500, ConnectionFailed), (429, RateLimitError), (401, PeftStudioError)])
async def test_refusal_after_a_loss_raises(
    server: Any, transport: Transport, status: int, kind: type[PeftStudioError]
) -> None:
    """A platform that is out of order is asked as often as any; a refusal is final."""
    server.steps = [stream(numbered(1, 1), end="reset"), server.reply(status)]

    with pytest.raises(kind, match=f"answered {status}"):
        await read(transport.events("events"))

    assert (3 if status == 500 else 2) == len(server.requests)


async def test_no_content_ends_the_stream(server: Any, transport: Transport) -> None:
    """The standard's way to say that there is nothing more."""
    server.steps = [stream(numbered(1, 1), end="reset"), b"HTTP/1.1 204 No Content\r\n\r\n"]

    assert lines(1, 1) == await read(transport.events("events"))


async def test_page_is_no_stream(server: Any, transport: Transport) -> None:
    """Nor is JSON."""
    server.steps = [server.reply(200, b"<title>Sign in</title>", kind="text/html")]

    with pytest.raises(ConnectionFailed, match="but not with an event stream: text/html: Sign in"):
        await read(transport.events("events"))


async def test_id_that_no_header_can_carry_is_refused(server: Any, transport: Transport) -> None:
    """Before anything is sent."""
    with pytest.raises(InvalidConfig, match="last-event-id cannot be sent"):
        await read(transport.events("events", last_event_id="1\r\nX-Evil: 1"))


async def test_stream_that_is_closed_closes_its_connection(server: Any, transport: Transport) -> None:
    """At once, not when it is collected."""
    server.steps = [stream(numbered(1, 9), end="silence")]
    events = transport.events("events")
    await anext(events)

    await events.aclose()

    await server.until_closed()


async def test_cancelled_reader_leaves_no_connection(server: Any, transport: Transport) -> None:
    """The task that waits for the next event is gone, and so is the connection."""
    server.steps = [stream(numbered(1, 1), end="silence")]
    arrived = asyncio.Event()

    async def follow() -> None:
        async with aclosing(transport.events("events")) as events:
            async for _ in events:
                arrived.set()

    task = asyncio.create_task(follow())
    await arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await server.until_closed()


async def test_server_chooses_the_pause(server: Any) -> None:
    """`retry` in the stream lengthens the pause before it is opened again."""
    server.steps = [stream("retry: 60000\n" + numbered(1, 1), end="reset"), stream(numbered(2, 2))]

    async with Transport(server.url) as transport, aclosing(transport.events("events")) as events:
        await anext(events)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(events), 0.5)

    assert 1 == len(server.requests)

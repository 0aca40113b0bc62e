"""What each kind of fault does. Times are real seconds: it is the client's patience that is tried."""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.types import Message, Send

from peft_studio_testkit.sandbox.exchange import Exchange
from peft_studio_testkit.sandbox.received import WEBSOCKET

KINDS: Final[dict[str, Callable[..., Awaitable[None]]]] = {}

#: Those that can strike a websocket: its handshake is answered otherwise, or its messages stop, each being an event.
FOR_WEBSOCKETS: Final = frozenset(
    {"delay", "timeout", "reset_before", "status", "html", "garbage", "empty", "shape", "redirect"}
    | {"drop_after", "half_open"}
)

_JSON: Final = {"content-type": "application/json"}
_GARBAGE: Final = bytes(range(128, 256)) * 2
_LOGIN_PAGE: Final = b"<!doctype html><html><head><title>Sign in</title></head><body><form>Sign in</form></body></html>"


def _kind(function: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    KINDS[function.__name__] = function
    return function


@_kind
async def delay(exchange: Exchange, seconds: float) -> None:
    """The answer comes late."""
    await asyncio.sleep(seconds)
    await exchange.answer()


@_kind
async def timeout(exchange: Exchange, *, commit: bool = False) -> None:
    """No answer ever comes."""
    if commit:
        await exchange.commit()
    await exchange.gone()


@_kind
async def reset_before(exchange: Exchange) -> None:
    """The connection is reset before anything is done."""
    await exchange.reset()


@_kind
async def reset_after(exchange: Exchange) -> None:
    """What was asked is done; the connection is reset in place of the answer."""

    async def cut(message: Message) -> None:
        if message["type"] == "http.response.start":
            await exchange.reset()

    await exchange.answer(cut)


@_kind
async def status(
    exchange: Exchange, code: int, body: Any = None, headers: Mapping[str, str] | None = None, *, commit: bool = False
) -> None:
    """Another status: `body` is bytes, a text, or anything else for JSON."""
    if commit:
        await exchange.commit()
    content = {"error": {"message": f"the sandbox was told to answer {code}"}} if body is None else body
    data, kind = _encoded(content)
    has_body = code not in (204, 304)
    await exchange.respond(code, data if has_body else b"", {"content-type": kind, **(headers or {})})


@_kind
async def truncate(exchange: Exchange) -> None:
    """Content-Length promises more than comes; then the connection is closed in good order."""
    held: list[Message] = []
    is_cut = False

    async def cut(message: Message) -> None:
        nonlocal is_cut
        if message["type"] == "http.response.start":
            held.append(message)
        elif message.get("body") and not is_cut:
            is_cut = True
            await exchange.send(_promising(held[0], len(message["body"])))
            half = message["body"][: len(message["body"]) // 2]
            await exchange.send({"type": "http.response.body", "body": half, "more_body": True})
            await exchange.close()

    await exchange.answer(cut)
    if not is_cut:  # an answer without a body
        await exchange.send(_promising(held[0], 10))
        await exchange.close()


@_kind
async def cut_json(exchange: Exchange) -> None:
    """A complete answer whose JSON stops in the middle."""
    start, body = await exchange.answer_whole()
    await exchange.replace(start, body[: len(body) // 2] or b"{")


@_kind
async def garbage(exchange: Exchange, *, commit: bool = True) -> None:
    """Bytes that mean nothing, called JSON."""
    await _instead(exchange, _GARBAGE, commit=commit)


@_kind
async def html(exchange: Exchange, *, commit: bool = False) -> None:
    """A proxy's login page with status 200."""
    if commit:
        await exchange.commit()
    await exchange.respond(200, _LOGIN_PAGE, {"content-type": "text/html; charset=utf-8"})


@_kind
async def empty(exchange: Exchange, *, commit: bool = True) -> None:
    """Status 200 and no body."""
    await _instead(exchange, b"", commit=commit)


@_kind
async def shape(exchange: Exchange, body: Any, *, commit: bool = True) -> None:
    """Status 200 and another JSON document than is promised."""
    await _instead(exchange, json.dumps(body).encode(), commit=commit)


@_kind
async def extra_fields(exchange: Exchange) -> None:
    """Every JSON object of the answer has keys that nobody knows; what is not JSON stays as it is."""
    start, body = await exchange.answer_whole()
    try:
        document = json.loads(body)
    except ValueError:
        await exchange.replace(start, body)
    else:
        await exchange.replace(start, json.dumps(_with_more(document)).encode())


@_kind
async def redirect(exchange: Exchange, code: int = 302) -> None:
    """To the same path at another origin."""
    query = exchange.scope["query_string"].decode("latin-1")
    path = exchange.scope["raw_path"].decode("latin-1")
    location = f"{exchange.other_origin}{path}" + (f"?{query}" if query else "")
    await exchange.respond(code, b"", {"location": location})


@_kind
async def drop_after(
    exchange: Exchange, bytes: int | None = None, events: int | None = None, streams_only: bool = False
) -> None:
    """The body is cut by a reset after so many bytes, or so many events or messages; at once unless told."""
    await _stop(exchange, bytes, events, streams_only, _drained_reset)


@_kind
async def half_open(
    exchange: Exchange, bytes: int | None = None, events: int | None = None, streams_only: bool = False
) -> None:
    """The body stops after so many bytes, events or messages, and the connection stays as if nothing had happened."""
    await _stop(exchange, bytes, events, streams_only, lambda stopped: stopped.gone())


@_kind
async def drip(exchange: Exchange, bytes_per_second: float) -> None:
    """The body comes slowly."""
    size = max(1, int(bytes_per_second / 20))

    async def slowly(message: Message) -> None:
        body = message.get("body", b"")
        while len(body) > size:
            await exchange.send({"type": "http.response.body", "body": body[:size], "more_body": True})
            await asyncio.sleep(size / bytes_per_second)
            body = body[size:]
        await exchange.send({**message, "body": body} if "body" in message else message)
        await asyncio.sleep(len(body) / bytes_per_second)  # a large body may come in many small messages

    await exchange.answer(slowly)


@_kind
async def corrupt(exchange: Exchange) -> None:
    """One byte of the body is another; length and headers are as promised."""
    is_done = False

    async def flip(message: Message) -> None:
        nonlocal is_done
        body = message.get("body", b"")
        if body and not is_done:
            is_done = True
            place = len(body) // 2
            message = {**message, "body": b"".join((body[:place], b"%c" % (body[place] ^ 1), body[place + 1 :]))}
        await exchange.send(message)

    await exchange.answer(flip)


@_kind
async def alias(exchange: Exchange, old: str, new: str) -> None:
    """The platform calls `old` by the name `new`, in its JSON and in its addresses."""
    exchange.scope["path"] = exchange.scope["path"].replace(new, old)
    start, body = await exchange.answer_whole()
    is_json = any(name.lower() == b"content-type" and b"json" in value for name, value in start["headers"])
    renamed = body.replace(json.dumps(old).encode(), json.dumps(new).encode())
    await exchange.replace(start, renamed if is_json else body)


@_kind
async def skew(exchange: Exchange, seconds: float) -> None:
    """The platform's clock is off: the Date header says so."""
    exchange.skew = seconds
    await exchange.answer()


async def _stop(
    exchange: Exchange,
    size: int | None,
    events: int | None,
    streams_only: bool,
    stop: Callable[[Exchange], Awaitable[None]],
) -> None:
    if exchange.received.method == WEBSOCKET:
        await exchange.answer(_limited_messages(exchange, events or 0, stop))
    else:
        await exchange.answer(_limited(exchange, size, events, streams_only, stop))


def _limited_messages(exchange: Exchange, count: int, stop: Callable[[Exchange], Awaitable[None]]) -> Send:
    """A way to send that lets a websocket open and so many messages pass, then calls `stop`, and swallows the rest."""
    left = count
    is_stopped = False

    async def send(message: Message) -> None:
        nonlocal left, is_stopped
        if is_stopped:
            return
        await exchange.send(message)
        left -= message["type"] == "websocket.send"
        if left <= 0:
            is_stopped = True
            await stop(exchange)

    return send


def _limited(
    exchange: Exchange,
    size: int | None,
    events: int | None,
    streams_only: bool,
    stop: Callable[[Exchange], Awaitable[None]],
) -> Send:
    """A way to send that lets so many bytes or events pass, then calls `stop`, and swallows the rest.

    An answer that tells its length is no stream: instead of some events half of it passes, or all of it.
    """
    left = 0 if size is None and events is None else size
    events_left = events
    is_stopped = False

    async def send(message: Message) -> None:
        nonlocal left, events_left, is_stopped
        if is_stopped:
            return
        length = _length(message)
        if events_left is not None and length is not None:
            left, events_left = None if streams_only else length // 2, None
        body = message.get("body", b"")
        passing = len(body)
        if left is not None:
            passing = min(passing, left)
            left -= passing
        if events_left is not None and message["type"] == "http.response.body":
            passing = min(passing, _end_of_events(body, events_left))
            events_left -= body[:passing].count(b"\n\n")
        is_stopped = message["type"] == "http.response.body" and (left == 0 or events_left == 0)
        if not is_stopped:
            await exchange.send(message)
            return
        await exchange.send({**message, "body": body[:passing], "more_body": True})
        await stop(exchange)

    return send


def _length(message: Message) -> int | None:
    """What the start of an answer says of its length."""
    lengths = [value for name, value in message.get("headers", ()) if name.lower() == b"content-length"]
    return int(lengths[0]) if lengths else None


def _end_of_events(body: bytes, count: int) -> int:
    """Where the event of that number ends in `body`; its length when there are not so many."""
    place = 0
    for _ in range(count):
        end = body.find(b"\n\n", place)
        if end < 0:
            return len(body)
        place = end + 2
    return place


async def _drained_reset(exchange: Exchange) -> None:
    """Reset after everything before it has arrived: a reset throws away what is still under way."""
    for _ in range(5000):
        if exchange.transport.is_closing() or not _under_way(exchange.transport):
            break
        await asyncio.sleep(0.001)
    await exchange.reset()


def _under_way(transport: Any) -> int:
    """Bytes that the client's system has not acknowledged yet; only Linux tells of those that it holds itself."""
    waiting = int(transport.get_write_buffer_size())
    if sys.platform != "linux":
        return waiting
    import fcntl
    import termios

    connection = transport.get_extra_info("socket")
    held: int = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0]
    return waiting + held


async def _instead(exchange: Exchange, body: bytes, *, commit: bool) -> None:
    if commit:
        await exchange.commit()
    await exchange.respond(200, body, _JSON)


def _encoded(content: Any) -> tuple[bytes, str]:
    if isinstance(content, bytes):
        return content, "application/octet-stream"
    if isinstance(content, str):
        return content.encode(), "text/plain; charset=utf-8"
    return json.dumps(content).encode(), "application/json"


def _promising(start: Message, size: int) -> Message:
    """The head of an answer that promises at least `size` bytes and one."""
    headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
    promised = [value for name, value in start["headers"] if name.lower() == b"content-length"]
    length = max(size + 1, *(int(value) for value in promised)) if promised else size + 1
    return {**start, "headers": [*headers, (b"content-length", str(length).encode())]}


def _with_more(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_more(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {**{key: _with_more(item) for key, item in value.items()}, "x_new": {"since": ["tomorrow", 1, None]}}

"""Server-sent events, as the HTML standard defines them, and where to go on after the stream was lost."""

from __future__ import annotations

import codecs
import re
from collections import OrderedDict
from collections.abc import Iterator

from attrs import frozen

#: Letters of one event. No platform writes such an event; a broken one might never end it.
EVENT_LIMIT = 4 * 2**20
_LINE_END = re.compile(r"\r\n|\n|\r")
#: How many delivered ids are kept to recognise a server that repeats itself.
_REMEMBERED = 10_000


@frozen
class ServerSentEvent:
    """One event of a stream."""

    data: str
    #: Kind of the event.
    event: str = "message"
    #: The last id that the stream named, here or earlier; "" when it names none.
    id: str = ""


class EventTooLong(Exception):
    """An event beyond the limit."""


class EventParser:
    """Turns bytes, cut anywhere, into events."""

    def __init__(self) -> None:
        #: Where to go on: the id of the last complete block that named one.
        self.last_id = ""
        #: False when events came after the block that `last_id` stands for.
        self.is_resumable = True
        #: Seconds to wait before the stream is opened again, where the server said so.
        self.retry: float | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._rest = ""
        self._start_block()

    @property
    def is_between_events(self) -> bool:
        """True when nothing was begun: the stream may end here."""
        half_a_letter = self._decoder.getstate()[0]
        return not (half_a_letter or self._rest or self._data or self._event or self._id is not None)

    def feed(self, chunk: bytes) -> Iterator[ServerSentEvent]:
        """The events that the next bytes complete. Raises `EventTooLong`."""
        text = self._rest + self._decoder.decode(chunk)
        start = 0
        for end in _LINE_END.finditer(text):
            if end[0] == "\r" and end.end() == len(text):
                break  # perhaps half of \r\n
            yield from self._line(text[start : end.start()])
            start = end.end()
        self._rest = text[start:]
        self._require_room(len(self._rest))

    def finish(self) -> Iterator[ServerSentEvent]:
        """The event that a last carriage return completes; it was kept in case that a line feed followed."""
        if self._rest.endswith("\r"):
            line, self._rest = self._rest[:-1], ""
            yield from self._line(line)

    def _start_block(self) -> None:
        self._data: list[str] = []
        self._event = ""
        self._id: str | None = None
        self._size = 0

    def _line(self, line: str) -> Iterator[ServerSentEvent]:
        if not line:
            yield from self._end_block()
            return
        self._require_room(len(line))
        self._size += len(line)
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and re.fullmatch(r"[0-9]{1,9}", value):
            self.retry = int(value) / 1000

    def _end_block(self) -> Iterator[ServerSentEvent]:
        data, event, id_ = self._data, self._event, self._id
        self._start_block()
        if id_ is not None:
            self.last_id = id_
        if id_ is not None or data:
            self.is_resumable = bool(id_)
        if data:
            yield ServerSentEvent("\n".join(data), event or "message", self.last_id)

    def _require_room(self, more: int) -> None:
        if self._size + more > EVENT_LIMIT:
            raise EventTooLong


class Position:
    """What of a stream was delivered, over all its connections: where to go on, and what a server repeats."""

    def __init__(self, last_id: str | None) -> None:
        self.last_id = last_id or ""
        self.parser = EventParser()
        self.has_delivered = False
        self._newest = self.last_id
        self._first = self.last_id
        self._recent = OrderedDict.fromkeys([self.last_id] if last_id else [])
        self._is_repeating: bool | None = None

    @property
    def is_resumable(self) -> bool:
        """False when the server could not know where to go on, and might send again what was delivered."""
        return self.parser.is_resumable or not self.has_delivered

    def reopen(self) -> None:
        """A new connection begins; its first event with an id tells whether the server repeats itself."""
        self.last_id = self.parser.last_id or self.last_id
        self.parser = EventParser()
        self._is_repeating = None

    def is_new(self, event: ServerSentEvent) -> bool:
        """False for an event that was delivered before; servers that ignore Last-Event-ID send those again."""
        if self._is_repeating is None and event.id:
            self._is_repeating = event.id in self._recent or event.id == self._first
        if self._is_repeating:
            self._is_repeating = event.id != self._newest
            return False
        self._deliver(event)
        return True

    def _deliver(self, event: ServerSentEvent) -> None:
        self.has_delivered = True
        self._newest = event.id
        self._first = self._first or event.id
        self._recent[event.id] = None
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)

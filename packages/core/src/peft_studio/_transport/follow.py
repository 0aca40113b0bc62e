"""Follow a stream of server-sent events through dropped connections: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus

from attrs import evolve, frozen

from peft_studio._transport.answers import AnswerReader, is_success
from peft_studio._transport.errors import AskAgain, ErrorMaker, pause
from peft_studio._transport.events import EventParser, EventTooLong, Position, ServerSentEvent
from peft_studio._transport.redirects import Navigator
from peft_studio._transport.requests import Request, is_header_value, merged
from peft_studio._transport.wire import Answer
from peft_studio.errors import ConnectionFailed, PeftStudioError

#: Seconds. A server may ask for a longer pause before it is asked again, but not for hours.
_LONGEST_RETRY = 30.0


@frozen
class Follower:
    """Reads one stream after the other."""

    navigator: Navigator
    reader: AnswerReader
    make_error: ErrorMaker
    retries: int

    async def follow(
        self, request: Request, last_event_id: str | None, missing: type[PeftStudioError]
    ) -> AsyncGenerator[ServerSentEvent]:
        """The events until the server ends the stream. Gives up after `retries` attempts that brought nothing new."""
        position = Position(last_event_id)
        fruitless = 0
        while True:
            try:
                async with aclosing(self._connection(request, position, missing)) as events:
                    async for event in events:
                        fruitless = 0
                        yield event
                return
            except AskAgain as failure:
                last = failure
            if not position.is_resumable or not is_header_value(position.parser.last_id):
                last.error.remedy = "read the stream from its start: it does not say where to go on"
                break
            if fruitless >= self.retries:
                break
            await asyncio.sleep(max(pause(fruitless, last.wait), min(position.parser.retry or 0, _LONGEST_RETRY)))
            fruitless += 1
            position.reopen()
        raise last.error

    async def _connection(
        self, request: Request, position: Position, missing: type[PeftStudioError]
    ) -> AsyncGenerator[ServerSentEvent]:
        go_on = {"last-event-id": position.last_id} if position.last_id else {}
        async with self.navigator.answer(evolve(request, headers=merged(request.headers, go_on))) as answer:
            if answer.status == HTTPStatus.NO_CONTENT:
                return
            await self._require_stream(answer, missing)
            async with aclosing(self._events(answer, position.parser)) as events:
                async for event in events:
                    if position.is_new(event):
                        yield event
        if not position.parser.is_between_events:
            error = self.make_error(ConnectionFailed, f"{request} broke off", why="it ended in the middle of an event")
            raise AskAgain(error)

    async def _events(self, answer: Answer, parser: EventParser) -> AsyncGenerator[ServerSentEvent]:
        is_too_long = False
        async with aclosing(answer.chunks()) as chunks:
            try:
                async for chunk in chunks:
                    for event in parser.feed(chunk):
                        yield event
            except EventTooLong:
                is_too_long = True
        if is_too_long:
            raise self.make_error(ConnectionFailed, f"{answer.request} sent an event that is too long")
        for event in parser.finish():
            yield event

    async def _require_stream(self, answer: Answer, missing: type[PeftStudioError]) -> None:
        if not is_success(answer):
            await self.reader.refuse(answer, missing)
        if answer.content_type != "text/event-stream":
            raise self.reader.unexpected(answer, "an event stream", await self.reader.body(answer))

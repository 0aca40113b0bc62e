"""Where redirects may lead: API calls stay at their origin; a download may leave it, without anything of ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urljoin

from attrs import frozen

from peft_studio._declared import Declared
from peft_studio._transport.errors import ErrorMaker
from peft_studio._transport.requests import Request, origin
from peft_studio._transport.wire import Answer, Wire
from peft_studio.errors import ConnectionFailed

UNDECLARED = "its connector.json does not name that host"
REPORT = "report it to the author of the connector"
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 5
#: All that another origin may know of a download.
_HARMLESS = ("accept", "accept-encoding", "range", "if-range")


@frozen
class Navigator:
    """Sends requests and follows redirects as far as they are safe."""

    wire: Wire
    make_error: ErrorMaker
    #: What the connector has declared; None where nothing limits it.
    declared: Declared | None

    @asynccontextmanager
    async def answer(self, request: Request, *, may_leave: bool = False) -> AsyncIterator[Answer]:
        """The answer that is no redirect. With `may_leave` it may come from another origin."""
        earlier: list[Answer] = []
        while len(earlier) <= _MAX_REDIRECTS:
            async with self.wire.answer(request) as answer:
                if answer.status not in _REDIRECTS:
                    answer.earlier = tuple(earlier)
                    yield answer
                    return
            earlier.append(answer)
            request = self._next(answer, may_leave=may_leave)
        raise self.make_error(ConnectionFailed, f"{request} was redirected more than {_MAX_REDIRECTS} times")

    def _next(self, answer: Answer, *, may_leave: bool) -> Request:
        request, target = answer.request, _target(answer)
        if target is None:
            raise self.make_error(ConnectionFailed, f"{request} answered {answer.status}, a redirect to nowhere")
        what = f"{request} was redirected to {origin(target)}"
        if origin(target) == request.origin:
            if request.method in ("GET", "HEAD"):
                return Request(request.method, target, request.headers)
            raise self.make_error(ConnectionFailed, what, why="it is not sent twice")
        if not may_leave:
            remedy = "check the address of the platform; nothing was sent elsewhere"
            raise self.make_error(ConnectionFailed, what, why="that is another origin", remedy=remedy)
        if self.declared is not None and not self.declared.allows(target):
            raise self.make_error(ConnectionFailed, what, why=UNDECLARED, remedy=REPORT)
        if not target.startswith("https:") and request.url.startswith("https:"):
            raise self.make_error(ConnectionFailed, what, why="it is not encrypted")
        harmless = {name: value for name, value in request.headers.items() if name in _HARMLESS}
        return Request("GET", target, harmless)


def _target(answer: Answer) -> str | None:
    """Where a redirect leads; None when it does not say, or not in a way that can be followed."""
    try:
        target = urljoin(answer.request.url, answer.headers.get("location", ""))
        is_web = origin(target).startswith(("http://", "https://")) and "location" in answer.headers
    except ValueError:  # a port that is no number, a bracket too many
        return None
    return target if is_web else None

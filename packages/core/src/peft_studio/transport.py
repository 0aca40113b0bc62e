"""HTTP to one platform: timeouts, retries where they are safe, errors of our tree, secrets masked.

Every REST connector needs the same hundred decisions about a network that fails; they are taken here once. What may be
repeated is repeated, what may create something never is, and an answer that is not the platform's is never mistaken
for one. Needs the extra `http`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Mapping
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypedDict, TypeVar, Unpack, final

from peft_studio._declared import Declared, declared
from peft_studio._transport.answers import AnswerReader, is_success
from peft_studio._transport.download import Download, Wanted, checked_sha256
from peft_studio._transport.errors import AskAgain, ErrorMaker, pause
from peft_studio._transport.events import ServerSentEvent
from peft_studio._transport.file_wire import FileWire
from peft_studio._transport.follow import Follower
from peft_studio._transport.observed import Observer
from peft_studio._transport.pace import Pace
from peft_studio._transport.pages import Pager
from peft_studio._transport.redirects import REPORT, UNDECLARED, Navigator
from peft_studio._transport.requests import (
    Content,
    Request,
    address,
    checked_base,
    encoded,
    is_header_value,
    merged,
    origin,
)
from peft_studio._transport.upload import FileBody
from peft_studio._transport.wire import Wire
from peft_studio.errors import (
    ArtifactNotFound,
    BrokenConnector,
    InvalidConfig,
    InvalidCredentials,
    PeftStudioError,
    PlatformError,
)
from peft_studio.models import Observed
from peft_studio.redaction.masking import Mask

__all__ = ["SendOptions", "ServerSentEvent", "Transport"]

TIMEOUT_VARIABLE: Final = "PEFT_STUDIO_HTTP_TIMEOUT"
RETRIES_VARIABLE: Final = "PEFT_STUDIO_HTTP_RETRIES"
_JSON = "application/json"

Query = Mapping[str, Any] | None
Headers = Mapping[str, str] | None
Result = TypeVar("Result")


class SendOptions(TypedDict, total=False):
    """What `post`, `put`, `patch` and `delete` take beside the segments."""

    json: Any
    #: Instead of `json`; name its kind in the headers.
    content: bytes | str | AsyncIterable[bytes]
    query: Mapping[str, Any] | None
    headers: Mapping[str, str] | None
    #: The error for 404.
    missing: type[PeftStudioError]
    #: Sending it twice is the same as once, so that it may be repeated when no answer comes.
    idempotent: bool
    #: A good answer without a body is None, not an error.
    may_be_empty: bool


@final
class Transport:
    """HTTP to the API at `base_url`; `segments` of a request are quoted one by one and appended to it.

    `headers` go with every request to that origin and to no other. The values in `secrets` are masked in errors, log
    lines and repr. `timeout` is in seconds of silence ($PEFT_STUDIO_HTTP_TIMEOUT, or 30). `retries` tells how often a
    safe request is asked again ($PEFT_STUDIO_HTTP_RETRIES, or 3). `certificate`, in PEM, is the only one that is
    accepted instead of the usual authorities: for a machine that has none of its own name.

    Raises `BrokenConnector` without the extra `http`, `InvalidConfig` for an address or a setting that cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] = {},
        secrets: Iterable[str] = (),
        connector: str | None = None,
        timeout: float | None = None,
        retries: int | None = None,
        certificate: str | None = None,
    ) -> None:
        self._base = checked_base(base_url)
        known = tuple(secrets)
        mask = Mask(known)
        self._observer = Observer(origin(self._base), mask)
        self._make_error = ErrorMaker(connector, mask, self._observer)
        limits = self._require_declared(declared())
        self._headers = self._checked(headers)
        self._retries = _setting(retries, RETRIES_VARIABLE, 3, int, minimum=0)
        silence = _setting(timeout, TIMEOUT_VARIABLE, 30.0, float, minimum=0.001)
        pace = Pace(origin(self._base), known, limits, self._make_error)
        self._wire = Wire(self._make_error, silence, pace, certificate)
        self._file_wire = FileWire(self._make_error, silence, pace, certificate)
        self._navigator = Navigator(self._wire, self._make_error, declared())
        self._file_navigator = Navigator(self._file_wire, self._make_error, declared())
        self._reader = AnswerReader(self._make_error)
        self._follower = Follower(self._navigator, self._reader, self._make_error, self._retries)

    def __repr__(self) -> str:
        return f"Transport({self._make_error.mask(self._base)!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def observed(self) -> Observed | None:
        """What the answers have said of themselves lately: clock, rate limit, request id. None before the first."""
        return self._observer.observed

    async def close(self) -> None:
        """Close every connection. Twice is fine; a request afterwards raises `ConnectionFailed`."""
        await self._wire.close()
        await self._file_wire.close()

    async def get(
        self,
        *segments: str,
        query: Query = None,
        headers: Headers = None,
        missing: type[PeftStudioError] = PlatformError,
    ) -> Any:
        """The JSON at an address; None for 204. `missing` is the error for 404."""
        request = self._request("GET", segments, query, headers)
        return await self._ask(request, missing, is_safe=True)

    async def head(
        self,
        *segments: str,
        query: Query = None,
        headers: Headers = None,
        missing: type[PeftStudioError] = PlatformError,
    ) -> Mapping[str, str]:
        """The headers of the answer to HEAD, named in lower case. `missing` is the error for 404."""
        request = self._request("HEAD", segments, query, headers)

        async def once() -> Mapping[str, str]:
            async with self._navigator.answer(request) as answer:
                if not is_success(answer):
                    await self._reader.refuse(answer, missing)
                return merged(answer.headers)

        return await self._insist(once, self._retries)

    async def post(self, *segments: str, **options: Unpack[SendOptions]) -> Any:
        """Send JSON and give the JSON that comes back. Sent once, unless `idempotent` says that twice does no harm."""
        return await self._send("POST", segments, **options)

    async def put(self, *segments: str, **options: Unpack[SendOptions]) -> Any:
        """As `post`."""
        return await self._send("PUT", segments, **options)

    async def patch(self, *segments: str, **options: Unpack[SendOptions]) -> Any:
        """As `post`."""
        return await self._send("PATCH", segments, **options)

    async def delete(self, *segments: str, **options: Unpack[SendOptions]) -> Any:
        """As `post`."""
        return await self._send("DELETE", segments, **options)

    async def download(
        self,
        *segments: str,
        file: Path,
        sha256: str | None = None,
        sha256_header: str | None = None,
        size: int | None = None,
        query: Query = None,
        headers: Headers = None,
        missing: type[PeftStudioError] = ArtifactNotFound,
    ) -> Path:
        """Download to `file`, which appears whole and verified or not at all.

        `size` is in bytes; `sha256` in hex, or told by the header `sha256_header` of the answer. What has arrived waits
        in `<file>.part` and is gone on with after a lost connection, or at the next call. A redirect may lead to
        another origin, which sees none of our headers. Raises `ConnectionFailed` for a file that stays short,
        `PlatformError` for a damaged one, `InvalidConfig` when the disk refuses.
        """
        request = self._request("GET", segments, query, headers)
        wanted = Wanted(request, missing, size, checked_sha256(sha256), sha256_header)
        download = Download(self._file_navigator, self._reader, self._make_error, wanted, file)
        return await download.run(self._retries)

    async def upload(
        self,
        *segments: str,
        file: Path | AsyncIterable[bytes],
        method: str = "PUT",
        query: Query = None,
        headers: Headers = None,
        missing: type[PeftStudioError] = PlatformError,
        idempotent: bool = False,
        may_be_empty: bool = False,
    ) -> Any:
        """Send a file, streamed from disk, or a stream of unknown length; gives the JSON that comes back.

        Sent once, unless `idempotent` says that twice does no harm; a stream can never be sent again. Raises
        `InvalidConfig` when the file cannot be read.
        """
        body = FileBody(file) if isinstance(file, Path) else _body(file)
        length = {"content-length": str(body.size)} if isinstance(body, FileBody) else {}
        sent = merged({"content-type": "application/octet-stream"}, headers, length)
        request = self._request(method, segments, query, sent, body)
        is_safe = idempotent and isinstance(body, FileBody)
        return await self._ask(request, missing, is_safe=is_safe, may_be_empty=may_be_empty)

    def pages(
        self,
        *segments: str,
        items: str | None = "items",
        cursor: str = "next_cursor",
        cursor_parameter: str = "cursor",
        page_parameter: str | None = None,
        first_page: int = 1,
        by_link: bool = False,
        query: Query = None,
        headers: Headers = None,
        missing: type[PeftStudioError] = PlatformError,
    ) -> AsyncGenerator[Any]:
        """Every item of a list that comes in pages.

        `items` is the field of an answer that holds the list ("data.jobs" for a nested one; None when the answer is the
        list). By cursor: the field `cursor` holds the position of the next page, which is asked for with the parameter
        `cursor_parameter`; the last page has none. By number, when `page_parameter` is given: that parameter counts
        from `first_page` until a page is empty. With `by_link` the header `Link` of a page names the next one, of which
        only the query counts. Raises `ConnectionFailed` when the pages never end.
        """

        async def ask(position: Mapping[str, Any]) -> tuple[Any, str]:
            asked = position if by_link and position else {**(query or {}), **position}
            request = self._request("GET", segments, asked, headers)

            async def once() -> tuple[Any, str]:
                async with self._navigator.answer(request) as answer:
                    return await self._reader.document(answer, missing), answer.headers.get("link", "")

            return await self._insist(once, self._retries)

        pager = Pager(ask, self._make_error, str(self._request("GET", segments, None, None)), items)
        if by_link:
            return pager.by_link()
        if page_parameter is not None:
            return pager.by_number(page_parameter, first_page)
        return pager.by_cursor(cursor, cursor_parameter)

    def events(
        self,
        *segments: str,
        query: Query = None,
        headers: Headers = None,
        last_event_id: str | None = None,
        missing: type[PeftStudioError] = PlatformError,
    ) -> AsyncGenerator[ServerSentEvent]:
        """Server-sent events, from the one after `last_event_id`, until the server ends the stream.

        A lost connection is opened again where the last one ended; no event comes twice. Raises `ConnectionFailed`
        when `retries` attempts in a row bring nothing new, or when events without an id make repetition possible.
        """
        stream = {"accept": "text/event-stream", "cache-control": "no-store"}
        request = self._request("GET", segments, query, merged(stream, headers))
        self._checked({"last-event-id": last_event_id or ""})
        return self._follower.follow(request, last_event_id, missing)

    async def _send(
        self,
        method: str,
        segments: tuple[str, ...],
        *,
        json: Any = None,
        content: bytes | str | AsyncIterable[bytes] | None = None,
        query: Query = None,
        headers: Headers = None,
        missing: type[PeftStudioError] = PlatformError,
        idempotent: bool = False,
        may_be_empty: bool = False,
    ) -> Any:
        body = _body(content) if json is None else encoded(json)
        kind = {} if json is None else {"content-type": _JSON}
        is_urgent = idempotent or method == "DELETE"
        request = self._request(method, segments, query, merged(kind, headers), body, is_urgent=is_urgent)
        is_safe = idempotent and not callable(body)  # a stream can be read only once
        return await self._ask(request, missing, is_safe=is_safe, may_be_empty=may_be_empty)

    def _request(
        self,
        method: str,
        segments: tuple[str, ...],
        query: Query,
        headers: Headers,
        content: Content | None = None,
        *,
        is_urgent: bool = False,
    ) -> Request:
        url = address(self._base, segments, query)
        sent = merged({"accept": _JSON}, self._headers, self._checked(headers or {}))
        return Request(method, url, sent, content, is_urgent=is_urgent)

    async def _ask(
        self, request: Request, missing: type[PeftStudioError], *, is_safe: bool, may_be_empty: bool = False
    ) -> Any:
        async def once() -> Any:
            async with self._navigator.answer(request) as answer:
                return await self._reader.document(answer, missing, may_be_empty=may_be_empty)

        return await self._insist(once, self._retries if is_safe else 0)

    async def _insist(self, attempt: Callable[[], Awaitable[Result]], retries: int) -> Result:
        """Try once, and `retries` times more."""
        for number in count():
            try:
                return await attempt()
            except AskAgain as failure:
                last = failure
            if number >= retries:
                break
            await asyncio.sleep(pause(number, last.wait))
        raise last.error

    def _require_declared(self, what: Declared | None) -> Mapping[str, float]:
        """The rate limits of connector.json. Raises `BrokenConnector` for a host that it does not name."""
        if what is None:
            return {}
        if not what.allows(self._base):
            wanted = f"the connector wants to talk to {origin(self._base)}"
            raise self._make_error(BrokenConnector, wanted, why=UNDECLARED, remedy=REPORT)
        return what.rate_limits

    def _checked(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        for name, value in headers.items():
            if is_header_value(value):
                continue
            kind = InvalidCredentials if self._make_error.mask.hides(value) else InvalidConfig
            why = "it holds a line break, a blank at its end or a letter beyond ASCII"
            raise self._make_error(kind, f"the header {name} cannot be sent", why=why, remedy="paste the value again")
        return headers


def _body(content: bytes | str | AsyncIterable[bytes] | None) -> Content | None:
    if isinstance(content, str):
        return content.encode()
    if content is None or isinstance(content, bytes):
        return content
    return lambda: content


def _setting(given: Any, variable: str, default: Any, kind: type, *, minimum: float) -> Any:
    """The argument, else the environment, else the default. Raises `InvalidConfig`."""
    value = os.environ.get(variable) or default if given is None else given
    try:
        number = kind(value)
    except ValueError:
        number = None
    if number is None or not minimum <= number < float("inf"):
        name = variable if given is None else variable.rpartition("_")[2].lower()
        raise InvalidConfig(f"{name} must be a number of at least {minimum:g}, not {value!r}")
    return number

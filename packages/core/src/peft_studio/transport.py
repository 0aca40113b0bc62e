"""HTTP to one platform: timeouts, retries where they are safe, errors of our tree, secrets masked.

Every REST connector needs the same hundred decisions about a network that fails; they are taken here once. What may be
repeated is repeated, what may create something never is, and an answer that is not the platform's is never mistaken
for one. Needs the extra `http`.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping
from itertools import count
from types import TracebackType
from typing import Any, Final, Self, TypedDict, TypeVar, Unpack, final
from urllib.parse import urljoin

from peft_studio._transport_answers import AnswerReader
from peft_studio._transport_errors import AskAgain, ErrorMaker, Mask
from peft_studio._transport_requests import (
    Content,
    Request,
    address,
    checked_base,
    encoded,
    is_header_value,
    merged,
    origin,
)
from peft_studio._transport_wire import Answer, Wire
from peft_studio.errors import ConnectionFailed, InvalidConfig, InvalidCredentials, PeftStudioError, PlatformError

TIMEOUT_VARIABLE: Final = "PEFT_STUDIO_HTTP_TIMEOUT"
RETRIES_VARIABLE: Final = "PEFT_STUDIO_HTTP_RETRIES"
_MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
#: Seconds before the first repetition; doubled for each further one, up to the second number.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0
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
    safe request is asked again ($PEFT_STUDIO_HTTP_RETRIES, or 3).

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
    ) -> None:
        self._make_error = ErrorMaker(connector, Mask(secrets))
        self._base = checked_base(base_url)
        self._headers = self._checked(headers)
        self._retries = _setting(retries, RETRIES_VARIABLE, 3, int, minimum=0)
        silence = _setting(timeout, TIMEOUT_VARIABLE, 30.0, float, minimum=0.001)
        self._wire = Wire(self._make_error, silence)
        self._reader = AnswerReader(self._make_error)

    def __repr__(self) -> str:
        return f"Transport({self._make_error.mask(self._base)!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection. Twice is fine; a request afterwards raises `ConnectionFailed`."""
        await self._wire.close()

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
        request = self._request(method, segments, query, merged(kind, headers), body)
        is_safe = idempotent and not callable(body)  # a stream can be read only once
        return await self._ask(request, missing, is_safe=is_safe, may_be_empty=may_be_empty)

    def _request(
        self,
        method: str,
        segments: tuple[str, ...],
        query: Query,
        headers: Headers,
        content: Content | None = None,
    ) -> Request:
        url = address(self._base, segments, query)
        return Request(method, url, merged({"accept": _JSON}, self._headers, self._checked(headers or {})), content)

    async def _ask(
        self, request: Request, missing: type[PeftStudioError], *, is_safe: bool, may_be_empty: bool = False
    ) -> Any:
        async def once() -> Any:
            return await self._ask_once(request, missing, may_be_empty=may_be_empty)

        return await self._insist(once, self._retries if is_safe else 0)

    async def _ask_once(self, request: Request, missing: type[PeftStudioError], *, may_be_empty: bool) -> Any:
        for _ in range(_MAX_REDIRECTS + 1):
            async with self._wire.answer(request) as answer:
                if answer.status not in _REDIRECTS:
                    return await self._reader.document(answer, missing, may_be_empty=may_be_empty)
                request = self._redirected(answer)
        raise self._make_error(ConnectionFailed, f"{request} was redirected more than {_MAX_REDIRECTS} times")

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

    def _redirected(self, answer: Answer) -> Request:
        """The request that a redirect of an API call leads to: reading, at the same origin."""
        request, target = answer.request, _target(answer)
        if target is not None and origin(target) != request.origin:
            what = f"{request} was redirected to another origin, {origin(target)}"
            raise self._make_error(
                ConnectionFailed, what, remedy="check the platform's address; the token is not sent elsewhere"
            )
        if target is None or request.method != "GET":
            raise self._make_error(ConnectionFailed, f"{request} answered {answer.status}, a redirect")
        return Request("GET", target, request.headers)

    def _checked(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        for name, value in headers.items():
            if is_header_value(value):
                continue
            kind = InvalidCredentials if self._make_error.mask.hides(value) else InvalidConfig
            why = "it holds a line break, a blank at its end or a letter beyond ASCII"
            raise self._make_error(kind, f"the header {name} cannot be sent", why=why, remedy="paste the value again")
        return headers


def pause(number: int, wait: float = 0.0) -> float:
    """Seconds before repetition `number` (from 0): twice as long each time, never in step with other clients."""
    longest: float = min(_FIRST_PAUSE * 2**number, _LONGEST_PAUSE)
    return max(wait, longest * random.uniform(0.5, 1.0))  # noqa: S311 -- nobody gains from guessing it


def _target(answer: Answer) -> str | None:
    """Where a redirect leads; None when it does not say."""
    location = answer.headers.get("location")
    try:
        target = urljoin(answer.request.url, location) if location else None
        return target if target is not None and origin(target) else None
    except ValueError:  # a port that is no number, a bracket too many
        return None


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

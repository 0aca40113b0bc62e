"""The door to the network; with `file_wire`, the only module that knows the HTTP library.

What the library raises becomes `AskAgain` or an error of ours, raised outside of the `except` so that its exception,
which holds the whole request, is not dragged along. Its own log lines show URLs with their queries and the headers of
answers; they are dropped for our requests and for nobody else's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import cache
from types import ModuleType
from typing import Any, TypeVar

from peft_studio._transport.errors import AskAgain, ErrorMaker
from peft_studio._transport.observed import rest
from peft_studio._transport.pace import Pace
from peft_studio._transport.requests import Request
from peft_studio.errors import BrokenConnector, ConnectionFailed, InvalidConfig, PeftStudioError

Answered = TypeVar("Answered")

_logger = logging.getLogger("peft_studio.transport")
_MAX_CONNECTIONS = 32
#: Seconds. Most servers close an idle connection after five or more; whoever closes first loses no request.
_KEEP_ALIVE = 3.0
_CHATTY = ("httpx2", *(f"httpcore2.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")))
_is_our_request: ContextVar[bool] = ContextVar("_is_our_request", default=False)


class Answer:
    """The head of an answer, and its body as it comes in. Each wire makes its own."""

    def __init__(self, wire: Wire, request: Request, response: Any) -> None:
        self.request = request
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        #: Seconds for which the platform wants no more requests; None when it does not say.
        self.rest: float | None = None
        #: The redirects that led here.
        self.earlier: tuple[Answer, ...] = ()
        self._wire = wire
        self._response = response

    @property
    def content_type(self) -> str:
        """In lower case, without parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    async def chunks(self) -> AsyncGenerator[bytes]:
        """The body, piece by piece, decompressed. Raises `AskAgain` when it breaks off."""
        broke_off = f"{self.request} broke off"
        async with aclosing(self._response.aiter_bytes()) as pieces:
            while (piece := await self._wire.step(anext(pieces, None), broke_off)) is not None:
                yield piece


class Wire:
    """Sends requests; its connections belong to the event loop that runs at the first one."""

    def __init__(self, make_error: ErrorMaker, timeout: float, pace: Pace, certificate: str | None) -> None:
        self._httpx2 = _library()
        self._make_error = make_error
        self._pace = pace
        self._pinned = None if certificate is None else self._pin(certificate)
        self._timeout = timeout
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_closed = False

    @asynccontextmanager
    async def answer(self, request: Request) -> AsyncIterator[Answer]:
        """Send at its turn, and give the answer as soon as its head is there; the rest is dropped at the end."""
        await self._pace.turn(request)
        sent, started = time.time(), time.monotonic()
        response = await self.step(self._send(request), f"{request} got no answer")
        try:
            answer = self._answer(request, response)
            self._listen(answer, sent, time.time())
            self._log(request, response, time.monotonic() - started)
            yield answer
        finally:
            with unlogged():
                await self._drop(response)

    def _listen(self, answer: Answer, sent: float, received: float) -> None:
        """Take in what the head of the answer says of the platform."""
        observer = self._make_error.observer
        observer.note(answer.request.origin, answer.headers, sent, received)
        skew = observer.observed.clock_skew if observer.observed else None
        answer.rest = rest(answer.status, answer.headers, received, skew or 0.0)
        self._pace.rest(answer.request, answer.rest or 0.0)

    async def step(self, action: Awaitable[Answered], what: str) -> Answered:
        """Wait for the library. Raises `AskAgain` when the network fails."""
        try:
            with unlogged():
                return await action
        except (self._httpx2.HTTPError, self._httpx2.InvalidURL, self._httpx2.StreamError) as error:
            why = self._words(error)
        self._require_open()
        raise AskAgain(self._make_error(ConnectionFailed, what, why=why))

    async def close(self) -> None:
        """Close all connections, those in use too."""
        self._is_closed = True
        client, self._client = self._client, None
        if client is not None and self._loop is asyncio.get_running_loop():
            with unlogged():
                await self._close(client)

    def _answer(self, request: Request, response: Any) -> Any:
        return Answer(self, request, response)

    async def _drop(self, response: Any) -> None:
        await response.aclose()

    async def _close(self, client: Any) -> None:
        await client.aclose()

    async def _send(self, request: Request) -> Any:
        client = self._client_of_this_loop()
        content = request.content() if callable(request.content) else request.content
        sent = client.build_request(request.method, request.url, headers=request.headers, content=content)
        return await client.send(sent, stream=True)

    def _client_of_this_loop(self) -> Any:
        self._require_open()
        loop = asyncio.get_running_loop()
        if self._client is not None and self._loop is loop:
            return self._client
        if self._client is not None and self._loop is not None and not self._loop.is_closed():
            raise self._make_error(ConnectionFailed, "the connection is in use by another event loop")
        self._client, self._loop = self._new_client(), loop
        return self._client

    def _new_client(self) -> Any:
        from http.cookiejar import CookieJar, DefaultCookiePolicy

        from peft_studio import __version__

        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        limits = self._httpx2.Limits(
            max_connections=_MAX_CONNECTIONS,
            max_keepalive_connections=_MAX_CONNECTIONS,
            keepalive_expiry=_KEEP_ALIVE,
        )
        try:
            return self._kind_of_client(
                headers={"User-Agent": f"peft-studio/{__version__}"},
                cookies=no_cookies,
                limits=limits,
                timeout=self._timeout,
                verify=self._pinned or _trust(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")),
            )
        except (OSError, ValueError, ImportError) as error:  # a proxy or certificate file of the environment
            why = f"{type(error).__name__}: {error}"
        raise self._make_error(InvalidConfig, "the proxy or certificates of the environment cannot be used", why=why)

    @property
    def _kind_of_client(self) -> Any:
        return self._httpx2.AsyncClient

    def _pin(self, certificate: str) -> ssl.SSLContext:
        """Trust this one certificate and no authority; its name does not matter, for nobody else has its key."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        try:
            context.load_verify_locations(cadata=certificate)
        except (ssl.SSLError, ValueError) as error:
            why = str(error)
        else:
            return context
        raise self._make_error(InvalidConfig, "the certificate cannot be used", why=why, remedy="pass it in PEM")

    def _require_open(self) -> None:
        if self._is_closed:
            raise self._make_error(ConnectionFailed, "the connection to the platform is closed")

    def _words(self, error: Exception) -> str:
        library = self._httpx2
        if isinstance(error, library.ConnectTimeout):
            return f"no connection within {self._timeout:g} s"
        if isinstance(error, library.PoolTimeout):
            return f"all {_MAX_CONNECTIONS} connections were busy for {self._timeout:g} s"
        if isinstance(error, library.TimeoutException):
            return f"silence for {self._timeout:g} s"
        return _innermost(error)

    def _log(self, request: Request, response: Any, seconds: float) -> None:
        number = response.headers.get("x-request-id")
        line = f"{request.method} {request.path} {response.status_code} in {seconds * 1000:.0f} ms"
        _logger.debug("%s", self._make_error.mask(line if number is None else f"{line}, x-request-id {number:.100}"))


def _library() -> ModuleType:
    try:
        import httpx2
    except ImportError as error:
        raise BrokenConnector(
            "the HTTP library is not installed", why=str(error), remedy="pip install 'peft-studio[http]'"
        ) from None
    for name in _CHATTY:
        logging.getLogger(name).addFilter(_is_of_others)
    return httpx2


@cache
def _trust(file: str | None, folder: str | None) -> Any:
    """The root certificates, read once: that takes 20 ms, in which the event loop stands still."""
    import httpx2

    return httpx2.create_ssl_context()


def _is_of_others(record: logging.LogRecord) -> bool:
    return not _is_our_request.get()


@contextmanager
def unlogged() -> Iterator[None]:
    token = _is_our_request.set(True)
    try:
        yield
    finally:
        _is_our_request.reset(token)


def _innermost(error: BaseException) -> str:
    """What the operating system said, where it said something; otherwise the library's words."""
    words = str(error) or type(error).__name__
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and not isinstance(cause, PeftStudioError) and cause.errno is not None:
            known = type(cause).__module__ == "builtins" and cause.errno > 0
            words = os.strerror(cause.errno) if known else (cause.strerror or words)
        cause = cause.__cause__ or cause.__context__
    return words

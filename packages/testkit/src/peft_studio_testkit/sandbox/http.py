"""`HttpSandbox`: a fake platform on loopback, written as a few Starlette routes."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount

from peft_studio.errors import InvalidConfig
from peft_studio_testkit.sandbox.base import Sandbox
from peft_studio_testkit.sandbox.edge import Edge, OtherOrigin, nothing
from peft_studio_testkit.sandbox.faults import FaultInjector
from peft_studio_testkit.sandbox.gate import Gate, RateLimit
from peft_studio_testkit.sandbox.openapi import Contract, load_contract
from peft_studio_testkit.sandbox.received import Received
from peft_studio_testkit.sandbox.server import Listener, ServerThread

_log = logging.getLogger(__name__)


class HttpSandbox(Sandbox):
    """A Starlette application on loopback. One server stays up across `reset`; any thread may steer it."""

    #: Requests are validated against this OpenAPI document (JSON or YAML), where there is one.
    openapi: ClassVar[Path | None] = None
    #: Paths (a regular expression) that the document says nothing of, such as those of signed downloads.
    outside_openapi: ClassVar[str | None] = None
    #: Method and path (a regular expression) of the request that creates a job, and of the one that uploads a file.
    job_creation: ClassVar[tuple[str, str]] = ("POST", r"/jobs$")
    file_upload: ClassVar[tuple[str, str]] = ("PUT", r"/files/.")
    #: Paths (regular expressions) that serve a job's log, and a file of an artifact or model.
    log_stream: ClassVar[str] = r"/logs$"
    file_download: ClassVar[str] = r"/files/."
    #: Items on a page, for `paginate`.
    page_size: ClassVar[int] = 20

    def __init__(self, *, speed: float = 0.0, worker: bool = False, port: int = 0) -> None:
        super().__init__(speed=speed, worker=worker)
        self.faults = FaultInjector(self._set_refusing)
        #: Everything that arrived since the last reset.
        self.requests: list[Received] = []
        #: What arrived at `other_origin`.
        self.other_requests: list[Received] = []
        #: The valid secret; another one after each reset.
        self.key = ""
        #: Exceptions of the sandbox's own handlers: bugs of its author.
        self.errors: list[Exception] = []
        #: Called with each request when it has been answered.
        self.on_answer: Callable[[Received], None] | None = None
        self._port = port
        #: What arrived and is not in the OpenAPI document, one sentence each; it was answered 400.
        self.contract_violations: list[str] = []
        self.rate_limit: RateLimit | None = None
        self._contract: Contract | None = None
        self._thread: ServerThread | None = None
        self._listeners: list[Listener] = []

    # What an author writes.

    def routes(self) -> Sequence[BaseRoute]:
        """The platform's API."""
        return []

    def other_routes(self) -> Sequence[BaseRoute]:
        """What the second origin serves, such as signed downloads; everything else there gets 200 and {}."""
        return []

    def authenticate(self, request: HTTPConnection) -> bool:
        """True when the request carries the valid secret."""
        return request.headers.get("authorization") == f"Bearer {self.key}"

    def unauthorized(self, request: HTTPConnection) -> Response:
        """What somebody without it is told."""
        body = self.error_body("invalid API key")
        return JSONResponse(body, status_code=401, headers={"www-authenticate": "Bearer"})

    def credentials(self) -> dict[str, str]:
        return {"api_key": self.key, "base_url": self.url}

    def environment(self) -> dict[str, str]:
        """Environment variables that point the platform's own client here."""
        return {}

    def error_body(self, message: str) -> Any:
        """The body of an error in the platform's own shape, for the gate and for the compliance checks."""
        return {"error": {"message": message}}

    # What a test uses.

    @property
    def url(self) -> str:
        """Base address."""
        return self._listener(0).url

    @property
    def other_origin(self) -> str:
        """Address of a second server, on another port."""
        return self._listener(1).url

    @property
    def open_connections(self) -> int:
        """How many connections clients hold now."""

        async def count() -> int:
            for _ in range(5):  # what clients have closed by now has arrived, and is noticed in these rounds
                await asyncio.sleep(0)
            return sum(listener.connections for listener in self._listeners)

        return self._server().call(count)

    @property
    def open_streams(self) -> int:
        """How many requests are being answered now."""
        return sum(not request.done for request in self.requests)

    def count(self, method: str, path: str) -> int:
        """How many requests of that method came to paths that match."""
        return sum(each.method == method and re.search(path, each.path) is not None for each in self.requests)

    def revoke(self) -> None:
        """The key is no longer valid; `key` is a new one that nobody has been told."""
        self.key = _new_key()

    def limit(self, requests: int, seconds: float) -> None:
        """Allow so many requests in so many seconds of the platform's clock; more get 429 with Retry-After."""
        self.rate_limit = RateLimit(self.clock, requests, seconds)

    def start(self) -> None:
        handlers: Any = {InvalidConfig: self._on_refusal, Exception: self._on_error}
        application = Starlette(routes=list(self.routes()), exception_handlers=handlers)
        platform = Gate(self, application)
        other = Starlette(routes=[*self.other_routes(), Mount("/", nothing)])
        self._contract = None if self.openapi is None else load_contract(self.openapi)
        self._listeners = [Listener(Edge(self, platform), self._port), Listener(OtherOrigin(self, other))]
        self._thread = ServerThread()
        try:
            super().start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.call(self._close)
            thread.stop()
            for listener in self._listeners:
                listener.dispose()
            self._listeners = []
        super().stop()

    def reset(self) -> None:
        self._server().call(self._reset)

    def complaints(self, received: Received) -> list[str]:
        """What the OpenAPI document has against a request; nothing without a document."""
        is_outside = self.outside_openapi is not None and re.search(self.outside_openapi, received.path)
        return [] if self._contract is None or is_outside else self._contract.violations(received)

    def note_error(self, error: Exception, method: str, path: str) -> None:
        """Keep an exception that is a bug of the sandbox itself, once."""
        if not any(error is known for known in self.errors):
            self.errors.append(error)
            _log.error("the sandbox failed at %s %s", method, path, exc_info=error)

    def _on_refusal(self, request: Request, error: Exception) -> Response:
        """A config that the worker cannot use is the client's fault."""
        return JSONResponse(self.error_body(str(error)), status_code=400)

    def _on_error(self, request: Request, error: Exception) -> Response:
        """Before the client hears of it, so that whoever tests finds it noted."""
        self.note_error(error, request.method, request.url.path)
        return JSONResponse(self.error_body("the sandbox has a bug"), status_code=500)

    async def _reset(self) -> None:
        await self._quiesce()
        self.faults.forget()
        await self._open()
        for log in (self.requests, self.other_requests, self.errors, self.contract_violations):
            log.clear()
        self.key = _new_key()
        self.rate_limit = None
        super().reset()

    async def _quiesce(self) -> None:
        for listener in self._listeners:
            listener.abort()
            await listener.quiet()

    async def _close(self) -> None:
        for listener in self._listeners:
            await listener.refuse()
            await listener.quiet()

    async def _open(self) -> None:
        for listener in self._listeners:
            if not listener.is_open:
                await listener.open()

    def _set_refusing(self, is_refusing: bool) -> None:
        async def refuse() -> None:
            if is_refusing:
                await self._listener(0).refuse()
            else:
                await self._open()

        self._server().call(refuse)

    def _server(self) -> ServerThread:
        if self._thread is None:
            raise RuntimeError(f"{type(self).__name__} is not started: use it in a `with` block, or call start()")
        return self._thread

    def _listener(self, number: int) -> Listener:
        self._server()
        return self._listeners[number]


def _new_key() -> str:
    return f"key-{secrets.token_hex(16)}"

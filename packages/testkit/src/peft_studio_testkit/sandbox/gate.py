"""What every platform asks before it does anything: is it too much, who is it, and is it the documented API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from peft_studio_testkit.sandbox.received import RECEIVED
from peft_studio_testkit.sandbox.window import Window

if TYPE_CHECKING:
    from peft_studio_testkit.sandbox.http import HttpSandbox


class RateLimit(Window):
    """The one limit of a platform that has no other; told in the headers that most have."""

    def headers(self) -> dict[str, str]:
        """What a client is told about it."""
        return {
            "x-ratelimit-limit": str(self.quota),
            "x-ratelimit-remaining": str(self.remaining),
            "x-ratelimit-reset": str(self.resets),
        }


class Gate:
    """Rate limit, authentication, the OpenAPI document, then the platform."""

    def __init__(self, sandbox: HttpSandbox, platform: ASGIApp) -> None:
        self._sandbox = sandbox
        self._platform = platform

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, or say why not."""
        connection = HTTPConnection(scope)
        limit = self._sandbox.rate_limit
        if limit is not None:
            accepted = limit.take()
            headers = limit.headers()
            send = _with_headers(send, headers)
            if not accepted:
                await self._too_many(headers["x-ratelimit-reset"])(scope, receive, send)
                return
        if not self._sandbox.authenticate(connection):
            await self._refuse(connection, scope, receive, send)
            return
        complaints = self._sandbox.complaints(scope[RECEIVED]) if RECEIVED in scope else []
        if complaints:
            self._sandbox.contract_violations += complaints
            await JSONResponse(self._sandbox.error_body("; ".join(complaints)), 400)(scope, receive, send)
            return
        await self._platform(scope, receive, send)

    async def _refuse(self, connection: HTTPConnection, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        await self._sandbox.unauthorized(connection)(scope, receive, send)

    def _too_many(self, seconds: str) -> Response:
        body = self._sandbox.error_body(f"too many requests; ask again in {seconds} s")
        return JSONResponse(body, status_code=429, headers={"retry-after": seconds})


def _with_headers(send: Send, headers: dict[str, str]) -> Send:
    encoded = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *encoded]}
        await send(message)

    return sending

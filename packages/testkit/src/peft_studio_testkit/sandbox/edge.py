"""The outermost layer of a sandbox: notes each request, and lets faults get hold of it before the platform does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketDisconnect

from peft_studio_testkit.sandbox.exchange import Exchange
from peft_studio_testkit.sandbox.received import RECEIVED, Received
from peft_studio_testkit.sandbox.websocket import WebSocketExchange

if TYPE_CHECKING:
    from peft_studio_testkit.sandbox.http import HttpSandbox


class Edge:
    """The way in from the network to the platform."""

    def __init__(self, sandbox: HttpSandbox, platform: ASGIApp) -> None:
        self._sandbox = sandbox
        self._platform = platform

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        sandbox = self._sandbox
        received = Received.from_scope(scope, sandbox.clock.now())
        sandbox.requests.append(received)
        scope[RECEIVED] = received
        kind = WebSocketExchange if scope["type"] == "websocket" else Exchange
        exchange = kind(self._platform, scope, receive, send, received, sandbox.other_origin)
        try:
            await self._answer(exchange)
        except asyncio.CancelledError:  # the sandbox was reset, and this connection with it
            if not exchange.transport.is_closing():
                raise
        except (ClientDisconnect, WebSocketDisconnect):  # its own decision
            return
        except Exception as error:  # noqa: BLE001 -- an author's handler may raise anything
            sandbox.note_error(error, received.method, received.path)
        finally:
            received.done = True
            if sandbox.on_answer is not None:
                sandbox.on_answer(received)

    async def _answer(self, exchange: Exchange) -> None:
        if not await exchange.read():
            return
        fault = self._sandbox.faults.of(exchange.received.method, exchange.received.path)
        if fault is None:
            await exchange.answer()
        else:
            await self._sandbox.faults.strike(fault, exchange)


class OtherOrigin:
    """A second server: a client that follows a redirect blindly ends here, with whatever it carries."""

    def __init__(self, sandbox: HttpSandbox, application: ASGIApp) -> None:
        self._sandbox = sandbox
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note the request, then answer it."""
        received = Received.from_scope(scope, self._sandbox.clock.now())
        self._sandbox.other_requests.append(received)
        exchange = Exchange(self._application, scope, receive, send, received, self._sandbox.url)
        try:
            if await exchange.read():
                await exchange.answer()
        except asyncio.CancelledError:
            if not exchange.transport.is_closing():
                raise


async def nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """The answer of the second origin to everything that it does not know: agreeable, and empty."""
    await JSONResponse({})(scope, receive, send)

"""One websocket, below the application: its handshake can be answered otherwise, and its messages can stop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from starlette.types import Message, Send

from peft_studio_testkit.sandbox.exchange import Exchange


class WebSocketExchange(Exchange):
    """A handshake, and the messages after it. For the log of requests its method is WEBSOCKET."""

    async def read(self) -> bool:
        """A handshake has no body."""
        return True

    async def receive(self) -> Message:
        """What the application reads."""
        return await self._receive()

    async def send(self, message: Message) -> None:
        """The last station before the wire."""
        kind = message["type"]
        if self.received.status is None:
            refused = 403 if kind == "websocket.close" else message.get("status")
            self.received.status = 101 if kind == "websocket.accept" else refused
        await self._raw_send(message)
        if kind == "websocket.http.response.body" and not message.get("more_body"):
            await self._closed()

    async def answer(self, send: Send | None = None) -> None:
        """Let the platform talk to the client; what it says goes through `send`."""
        forward = self.send if send is None else send

        async def noting(message: Message) -> None:
            self.received.commit |= message["type"] == "websocket.accept"
            await forward(message)

        await self._app(self.scope, self.receive, noting)

    async def commit(self) -> None:
        """Nothing is done for a client that is not let in."""

    async def respond(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """Answer the handshake with a plain HTTP response."""
        encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        await self.send({"type": "websocket.http.response.start", "status": status, "headers": encoded})
        await self.send({"type": "websocket.http.response.body", "body": body})

    async def gone(self) -> None:
        """Wait until the connection is no more."""
        while (await self._receive())["type"] != "websocket.disconnect":
            pass

    async def _closed(self) -> None:
        """Wait for the end of the connection: uvicorn logs an application that returns before it as one with a bug."""
        connection = self.transport.get_extra_info("socket")
        while connection.fileno() >= 0:  # noqa: ASYNC110 -- nothing tells
            await asyncio.sleep(0.001)

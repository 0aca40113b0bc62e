"""One request and its answer, below the application: where faults get hold of them."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any, Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from peft_studio_testkit.sandbox.received import Received

#: So much of a request's body is kept, bytes.
KEPT: Final = 1 << 20


class Exchange:
    """A request that has been read as far as it is kept, and the way to answer it."""

    def __init__(
        self, app: ASGIApp, scope: Scope, receive: Receive, send: Send, received: Received, other_origin: str
    ) -> None:
        self.scope = scope
        self.received = received
        #: Address of another server than the one that was asked.
        self.other_origin = other_origin
        #: Seconds that the Date header is off.
        self.skew = 0.0
        self._app = app
        self._receive = receive
        self._raw_send = send
        self._read: list[Message] = []

    @property
    def transport(self) -> Any:
        """The connection; uvicorn's `send` is a method of the object that holds it."""
        return self._raw_send.__self__.transport  # type: ignore[attr-defined]  # see the docstring

    async def read(self) -> bool:
        """Read the body into the log; False when the client went away before it was whole."""
        more = True
        while more and len(self.received.body) < KEPT:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return False
            more = message.get("more_body", False)
            self._note(message)
            self._read.append(message)
        return True

    async def receive(self) -> Message:
        """What the application reads: first what is kept here already."""
        if self._read:
            return self._read.pop(0)
        message = await self._receive()
        self._note(message)
        return message

    async def send(self, message: Message) -> None:
        """The last station before the wire."""
        if message["type"] == "http.response.start":
            headers = [(name, value) for name, value in message.get("headers", ()) if name.lower() != b"date"]
            date = formatdate(time.time() + self.skew, usegmt=True).encode()
            message = {**message, "headers": [*headers, (b"date", date)]}
            self.received.status = message["status"]
        await self._raw_send(message)

    async def answer(self, send: Send | None = None) -> None:
        """Let the platform do what is asked; its answer goes through `send`."""
        forward = self.send if send is None else send

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.received.commit = message["status"] < 400
            await forward(message)

        await self._app(self.scope, self.receive, noting)

    async def answer_whole(self) -> tuple[Message, bytes]:
        """Let the platform do what is asked, and keep its whole answer back: start and body."""
        messages: list[Message] = []

        async def keep(message: Message) -> None:
            messages.append(message)

        await self.answer(keep)
        return messages[0], b"".join(message.get("body", b"") for message in messages[1:])

    async def commit(self) -> None:
        """Let the platform do what is asked; its answer is lost."""

        async def lose(message: Message) -> None:
            return

        await self.answer(lose)

    async def respond(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        """Answer in the platform's place."""
        wire = {"content-length": str(len(body)), **{name.lower(): value for name, value in headers.items()}}
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in wire.items()]
        await self.send({"type": "http.response.start", "status": status, "headers": encoded})
        await self.send({"type": "http.response.body", "body": body})

    async def replace(self, start: Message, body: bytes) -> None:
        """Send `body` under the head of another answer, with the right length."""
        headers = [pair for pair in start["headers"] if pair[0].lower() not in (b"content-length", b"etag")]
        headers.append((b"content-length", str(len(body)).encode()))
        await self.send({**start, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})

    async def reset(self) -> None:
        """Cut the connection with a reset."""
        abort(self.transport)
        await self.gone()

    async def close(self) -> None:
        """Close the connection after what has been sent."""
        self.transport.close()
        await self.gone()

    async def gone(self) -> None:
        """Wait until the connection is no more."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def _note(self, message: Message) -> None:
        body = message.get("body", b"")
        self.received.size += len(body)
        self.received.body += body[: KEPT - len(self.received.body)]


def abort(transport: Any) -> None:
    """Close a connection with a TCP reset: lingering for no time at all is how a program asks for one."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()

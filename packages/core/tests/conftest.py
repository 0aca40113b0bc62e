"""A platform that says exactly what a test tells it to, byte by byte."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from attrs import define, field, frozen


@frozen
class Received:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)


Handler = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]
#: Bytes are written as they are; None resets the connection.
Step = bytes | Handler | None


@define
class RawServer:
    """Answers the first request with the first step, the second with the second; the last step is repeated."""

    steps: list[Step] = field(factory=list)
    requests: list[Received] = field(factory=list)
    open_connections: int = 0
    scheme: str = "http"
    #: Set by the first request.
    was_asked: asyncio.Event = field(factory=asyncio.Event)
    _idle: asyncio.Event = field(factory=asyncio.Event)
    _server: asyncio.Server | None = None
    _tasks: set[asyncio.Task[None]] = field(factory=set)

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"{self.scheme}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def start(self, certificate: Path | None = None) -> None:
        context = None
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate)
            self.scheme = "https"
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until_closed(self) -> None:
        """Wait until no client holds a connection."""
        async with asyncio.timeout(30):
            await self._idle.wait()

    @staticmethod
    def reset(writer: asyncio.StreamWriter) -> None:
        """End the connection with RST, as a crash does."""
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        writer.transport.abort()
        raise ConnectionResetError

    @staticmethod
    def reply(status: int = 200, body: Any = None, *, kind: str | None = "application/json", **headers: str) -> bytes:
        """A whole answer; `body` is JSON unless it is bytes, and underscores in header names are hyphens."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        named = {} if kind is None else {"Content-Type": kind}
        named |= {name.replace("_", "-"): value for name, value in headers.items()}
        named.setdefault("Content-Length", str(len(content)))
        lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
        return f"HTTP/1.1 {status} Whatever\r\n{lines}\r\n".encode() + content

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open_connections += 1
        self._idle.clear()
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    await self._answer(await _read(reader), reader, writer)
        finally:
            self.open_connections -= 1
            if not self.open_connections:
                self._idle.set()
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(self, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        step = self.steps[min(len(self.requests), len(self.steps) - 1)]
        self.requests.append(request)
        self.was_asked.set()
        if step is None:
            self.reset(writer)
        elif isinstance(step, bytes):
            writer.write(step)
            await writer.drain()
        else:
            hung_up = asyncio.ensure_future(reader.read(1))  # a client that goes away ends the handler
            handling = asyncio.ensure_future(step(request, writer))
            try:
                await asyncio.wait((hung_up, handling), return_when=asyncio.FIRST_COMPLETED)
                if not handling.done():
                    raise ConnectionResetError
                await handling
            finally:
                handling.cancel()
                hung_up.cancel()
                await asyncio.gather(handling, hung_up, return_exceptions=True)


async def _read(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int(await reader.readline(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Received(method, target, headers, body)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has nothing yet: what is remembered between two commands is not the developer's."""
    folder = tmp_path / "home"
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(folder))
    return folder


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    """A platform on loopback."""
    started = RawServer()
    await started.start()
    yield started
    await started.stop()


@pytest.fixture
async def elsewhere() -> AsyncIterator[RawServer]:
    """Another origin."""
    started = RawServer()
    await started.start()
    yield started
    await started.stop()


@pytest.fixture
async def encrypted_server() -> AsyncIterator[RawServer]:
    """A platform behind TLS."""
    started = RawServer()
    await started.start(Path(__file__).with_name("loopback.pem"))
    yield started
    await started.stop()


@pytest.fixture
async def own_server() -> AsyncIterator[RawServer]:
    """A machine that was rented: TLS with a certificate of its own, which no authority has signed."""
    started = RawServer()
    await started.start(Path(__file__).with_name("leaf.pem"))
    yield started
    await started.stop()


@pytest.fixture
def threaded_server() -> Iterator[str]:
    """The address of a platform in a thread of its own: it outlives the event loops of its clients."""

    class Ready(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "2")
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Ready) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()

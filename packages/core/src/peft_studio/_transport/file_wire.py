"""The wire of files: blocking connections, waited for in threads.

An event loop costs more for each piece of a long body than the piece itself, and holds the interpreter meanwhile. Here
the operating system puts a body into large buffers, while another thread takes the one that is full.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from itertools import cycle
from socket import SHUT_RDWR
from threading import Thread
from typing import Any, Final, TypeVar

from peft_studio._transport.requests import Request
from peft_studio._transport.wire import Answer, Wire

#: Bytes that are handed on at once. Larger blocks cost memory; smaller ones cost time, most of it in the file system.
BLOCK: Final = 2 * 2**20
#: Bytes. A shorter body the library reads in one go, and can use the connection again.
_LONG: Final = 2**16

Result = TypeVar("Result")
#: Takes a block, whose memory is used again afterwards.
Take = Callable[[memoryview], None]


class FileAnswer(Answer):
    """An answer that can be poured into a file."""

    async def chunks(self) -> AsyncGenerator[bytes]:
        """As of any answer."""
        pieces = self._response.body.iter_bytes()
        while (piece := await self._do(partial(next, pieces, None))) is not None:
            yield piece

    async def pour(self, take: Take, most: float) -> None:
        """Hand the body to `take` in large blocks, also what came before it broke off; little more than `most` bytes.

        Raises `AskAgain` when it breaks off, and what `take` raises.
        """
        await self._do(partial(_pour, self._response.body, take, most))

    async def _do(self, work: Callable[[], Result]) -> Result:
        return await self._wire.step(self._response.do(work), f"{self.request} broke off")


class FileWire(Wire):
    """As `Wire`; its answers are `FileAnswer`s."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._calls: set[_Call] = set()

    async def close(self) -> None:
        """Close all connections, those in use too."""
        for call in self._calls:
            call.hang_up()
        await super().close()

    async def _close(self, client: Any) -> None:
        client.close()

    @property
    def _kind_of_client(self) -> Any:
        return self._httpx2.Client

    def _answer(self, request: Request, response: Any) -> Any:
        return FileAnswer(self, request, response)

    async def _send(self, request: Request) -> Any:
        client, call = self._client_of_this_loop(), _Call()
        sent = client.build_request(
            request.method, request.url, headers=request.headers, extensions={"trace": call.listen}
        )
        self._calls.add(call)
        try:
            await call.do(partial(call.send, client, sent))
        except BaseException:
            self._calls.discard(call)
            raise
        return call

    async def _drop(self, response: Any) -> None:
        self._calls.discard(response)
        response.body.close()


class _Call:
    """One request. Its work is done in threads, one after the other; a cancelled one ends at once."""

    def __init__(self) -> None:
        #: The library's answer.
        self.body: Any = None
        self._stream: Any = None
        self._is_over = False

    @property
    def status_code(self) -> int:
        return int(self.body.status_code)

    @property
    def headers(self) -> Any:
        return self.body.headers

    def listen(self, event: str, details: Any) -> None:
        """The library tells what it does: here, which connection it has made."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._stream = details["return_value"]
            if self._is_over:
                self.hang_up()

    def send(self, client: Any, request: Any) -> None:
        """Blocks until the head of the answer is there."""
        self.body = client.send(request, stream=True)
        self._stream = self.body.extensions["network_stream"]
        if self._is_over:
            self.body.close()

    async def do(self, work: Callable[[], Result]) -> Result:
        """Work in a thread, of its own so that no pool runs dry, and that nobody waits for when the program ends."""
        future: Future[Result] = Future()
        future.set_running_or_notify_cancel()
        context = copy_context()
        Thread(target=lambda: context.run(_settle, future, work), name="peft-studio-file", daemon=True).start()
        waiting = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            self.hang_up()
            if self._stream is not None:
                await asyncio.wait([waiting])  # nobody closes a file that is written to
            waiting.cancel()  # without a connection it has nothing to write; `listen` and `send` end it later
            raise

    def hang_up(self) -> None:
        """Let whoever waits for the connection wake up, with nothing."""
        self._is_over = True
        if self._stream is not None:
            with suppress(OSError):  # it is closed already
                self._stream.get_extra_info("socket").shutdown(SHUT_RDWR)


class _Body:
    """What comes in, as it fits into a buffer: long bodies of known length straight from the connection."""

    def __init__(self, response: Any) -> None:
        self._pieces = response.iter_raw()
        self._held = memoryview(b"")
        self._socket: Any = None
        self._left = 0
        length, stream = response.headers.get("content-length", ""), response.extensions["network_stream"]
        # TLS within TLS, through a proxy, has no socket that gives the plain bytes.
        is_plain = not isinstance(stream.get_extra_info("ssl_object"), ssl.SSLObject)
        if is_plain and length.isdecimal() and int(length) > _LONG and "transfer-encoding" not in response.headers:
            # The first piece is all that the library has read beyond the head.
            self._held = memoryview(next(self._pieces, b""))
            self._socket, self._left = stream.get_extra_info("socket"), int(length) - len(self._held)

    def readinto(self, view: memoryview) -> int:
        """Bytes that have come, at least one; 0 at the end. Raises the errors of the library."""
        if not self._held and self._left:
            return self._receive(view[: self._left])
        if not self._held and self._socket is None:
            self._held = memoryview(next(self._pieces, b""))
        count = min(len(view), len(self._held))
        view[:count], self._held = self._held[:count], self._held[count:]
        return count

    def _receive(self, view: memoryview) -> int:
        import httpx2

        try:
            count = int(self._socket.recv_into(view))
        except TimeoutError as error:
            raise httpx2.ReadTimeout(str(error)) from error
        except OSError as error:
            raise httpx2.ReadError(str(error)) from error
        self._left = self._left - count if count else 0
        return count


def _pour(response: Any, take: Take, most: float) -> None:
    """One thread fills a buffer while another one empties the other."""
    body = _Body(response)
    buffers = cycle([memoryview(bytearray(BLOCK)), memoryview(bytearray(BLOCK))])
    poured = 0
    with ThreadPoolExecutor(1, "peft-studio-file-taker") as taker:
        taking: Future[None] | None = None
        while True:
            buffer = next(buffers)
            count, failure = _fill(buffer, body)
            if taking is not None:
                taking.result()
            taking = taker.submit(take, buffer[:count])
            poured += count
            if failure is not None or count < len(buffer) or poured > most:
                break
        taking.result()
    if failure is not None:
        raise failure


def _fill(buffer: memoryview, body: _Body) -> tuple[int, Exception | None]:
    """How many bytes have come, and what made an end of them."""
    count = 0
    try:
        while count < len(buffer) and (more := body.readinto(buffer[count:])):
            count += more
    except Exception as error:  # noqa: BLE001 -- it is raised when what came before has been taken
        return count, error
    return count, None


def _settle(future: Future[Result], work: Callable[[], Result]) -> None:
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 -- it is raised where the work is waited for
        future.set_exception(error)
    else:
        future.set_result(result)

"""Async code of third parties in a daemon thread with an event loop of its own.

Nothing that it does holds up anybody else: it may block its loop, ignore that it is cancelled, or never come back. The
program can end all the same, because neither this thread nor those that it starts by `asyncio.to_thread` are waited
for. That is protection against mistakes: code that keeps the interpreter's lock for itself stops the whole process.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Generic, TypeVar

_T = TypeVar("_T")
_log = logging.getLogger("peft_studio.health")

#: How long what a connector leaves behind in its loop may take to be cancelled, seconds.
_LAST_WORDS = 1.0


class TookTooLong(Exception):
    """The code had not come back when its time was up. It has been cancelled, for what that is worth."""


class Isolated(Generic[_T]):
    """One call of async code, begun at once."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, _T]], name: str) -> None:
        self._work = work
        self._answer: Future[_T] = Future()
        #: Done when the thread is.
        self._over: Future[None] = Future()
        self._lock = threading.Lock()
        self._cancel: Callable[[], object] | None = None
        self._is_cancelled = False
        threading.Thread(target=self._run, name=f"peft-studio-{name}", daemon=True).start()

    @property
    def is_over(self) -> bool:
        """True when nothing of it is left."""
        return self._over.done()

    async def answer(self, limit: float) -> _T:
        """What it returns or raises; after `limit` seconds it is cancelled, and `TookTooLong` raised."""
        answer = asyncio.wrap_future(self._answer)
        try:
            await asyncio.wait({answer}, timeout=limit)
            if answer.done():
                return answer.result()
        finally:
            if not answer.done():
                self.cancel()
                answer.cancel()
            elif not answer.cancelled():
                answer.exception()  # looked at, also when the caller was cancelled at this moment
        raise TookTooLong

    async def over(self, limit: float) -> None:
        """Come back when nothing of it is left, or after `limit` seconds."""
        over = asyncio.wrap_future(self._over)
        try:
            await asyncio.wait({over}, timeout=limit)
        finally:
            over.cancel()

    def cancel(self) -> None:
        """Ask it to stop. Asked again it is let be: a second time would interrupt what it does to let go."""
        with self._lock:
            if self._cancel is not None and not self._is_cancelled:
                self._cancel()
            self._is_cancelled = True

    def _run(self) -> None:
        for future in (self._answer, self._over):
            future.set_running_or_notify_cancel()  # from now on nobody but this thread settles them
        try:
            self._serve()
        except BaseException as error:  # noqa: BLE001 -- no loop can be made, for want of file handles
            if not self._answer.done():
                self._answer.set_exception(error)
        finally:
            self._over.set_result(None)

    def _serve(self) -> None:
        loop = asyncio.new_event_loop()
        loop.set_default_executor(_DaemonThreads())
        loop.set_exception_handler(_note)
        task = loop.create_task(self._work())
        with self._lock:
            self._cancel = partial(loop.call_soon_threadsafe, task.cancel)
            if self._is_cancelled:
                task.cancel()
        try:
            _settle(self._answer, partial(loop.run_until_complete, task))
            loop.run_until_complete(_tidy())
        finally:
            with self._lock:
                self._cancel = None
            loop.close()


class _DaemonThreads(ThreadPoolExecutor):
    """A thread for each call; Python waits at its end for those of a real pool."""

    def submit(self, function: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        future: Future[_T] = Future()
        future.set_running_or_notify_cancel()
        call = partial(function, *args, **kwargs)
        threading.Thread(target=_settle, args=(future, call), name="peft-studio-call", daemon=True).start()
        return future


def _settle(future: Future[_T], call: Callable[[], _T]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001 -- whoever waits for the future gets it, SystemExit too
        future.set_exception(error)


async def _tidy() -> None:
    """Cancel what is left in the loop, for as long as that is worth waiting for."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        await asyncio.wait(others, timeout=_LAST_WORDS)
    await asyncio.get_running_loop().shutdown_asyncgens()


def _note(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A connector's forgotten task is no message for the user of a command."""
    _log.debug("%s", context.get("message"), exc_info=context.get("exception"))

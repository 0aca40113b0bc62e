"""An event loop in a thread of its own, and callers in other threads that wait for what it does.

That is how a script, or a notebook whose own loop is running, calls async code and gets a plain answer. An interrupt
while waiting (Ctrl-C) cancels the call and is raised when the call has cleaned up.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import aclosing
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from peft_studio.errors import ConnectionFailed, PeftStudioError

_T = TypeVar("_T")
_END = object()

#: Windows hears Ctrl-C only between two waits, seconds.
_WAIT = 0.2
#: How long a program that ends without closing lets its streams be closed, seconds.
_LAST_WORDS = 5.0


class LoopThread:
    """Starts with the first call and ends with `close`, or when nobody holds it any more."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._closing = threading.Lock()
        self._is_closed = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: Callable[[], object] | None = None

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """What the coroutine returns or raises. Any thread may ask, but not the loop's own."""
        call = _Call(coroutine)
        try:
            self._begin(call)
            call.wait()
        except BaseException:
            self._cancel(call)
            raise
        return call.result()

    def iterate(self, source: AsyncGenerator[_T]) -> Generator[_T]:
        """The items of an async generator, each made when it is asked for, all of them in one task."""
        wanted = asyncio.Semaphore(0)
        items: SimpleQueue[Any] = SimpleQueue()
        call = _Call(_feed(source, wanted, items), ended=lambda: items.put(_END))
        try:
            self._begin(call)
            while True:
                self._tell(wanted.release)
                item = _take(items)
                if item is _END:
                    break
                yield item
            call.result()
        finally:
            self._cancel(call)

    def close(self, farewell: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `farewell`, cancel every call that is still waited for, and end the thread; again does nothing."""
        if self._is_elsewhere():
            return
        with self._closing:
            if self._is_closed:
                return
            try:
                self.run(farewell())
            finally:
                self._end()

    def _begin(self, call: _Call[Any]) -> None:
        if self._is_elsewhere():
            raise PeftStudioError("this manager was made in another process", remedy="make one in each process")
        if threading.current_thread() is self._thread:
            what = "this manager cannot be called from its own event loop: the call would wait for itself"
            raise PeftStudioError(what, remedy="call it from another thread, or use a ConnectorManager there")
        with self._lock:
            if self._has_ended():
                raise ConnectionFailed("this manager is closed", remedy="make a new one")
            if self._loop is None:
                self._loop = self._start()
            call.schedule(self._loop)

    def _start(self) -> asyncio.AbstractEventLoop:
        ready: SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = SimpleQueue()
        self._thread = threading.Thread(target=_serve, args=(ready,), name="peft-studio-loop", daemon=True)
        self._thread.start()
        loop, stop = ready.get()
        self._stop = weakref.finalize(self, _stop, loop, stop, self._thread)
        return loop

    def _tell(self, callback: Callable[[], object]) -> bool:
        """Have the loop call something; False when there is no loop to tell."""
        with self._lock:
            if self._loop is None or self._has_ended():
                return False
            self._loop.call_soon_threadsafe(callback)
            return True

    def _cancel(self, call: _Call[Any]) -> None:
        """Cancel a call that is not over, and wait until it has cleaned up."""
        if call.is_over or sys.is_finalizing():
            return
        if self._is_elsewhere() or not self._tell(call.cancel):
            call.drop()
        if call.is_scheduled and threading.current_thread() is not self._thread and not self._is_elsewhere():
            call.wait()

    def _end(self) -> None:
        with self._lock:
            self._is_closed = True
            if self._stop is not None:
                self._stop()
        if self._thread is not None:
            self._thread.join()

    def _has_ended(self) -> bool:
        return self._is_closed or (self._loop is not None and self._loop.is_closed())

    def _is_elsewhere(self) -> bool:
        """True in a process that was forked from ours: the thread was left behind."""
        return os.getpid() != self._process


class _Call(Generic[_T]):
    """One coroutine as a task of the loop, seen from outside. An interrupt may strike at any moment of its life."""

    def __init__(self, coroutine: Coroutine[Any, Any, _T], ended: Callable[[], None] | None = None) -> None:
        self._coroutine = coroutine
        self._ended = ended
        self._over = threading.Event()
        self._task: asyncio.Task[_T] | None = None
        self.is_scheduled = False

    @property
    def is_over(self) -> bool:
        """True when there is a result."""
        return self._over.is_set()

    def schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        """Have it started in the loop."""
        self.is_scheduled = True
        loop.call_soon_threadsafe(self._start, loop)

    def wait(self) -> None:
        """Come back when the call is over."""
        while not self._over.wait(_WAIT):
            pass

    def result(self) -> _T:
        """What it returned or raised; only when it is over."""
        assert self._task is not None
        try:
            return self._task.result()
        except asyncio.CancelledError:
            raise ConnectionFailed("the call was cancelled", why="the manager was closed meanwhile") from None

    def cancel(self) -> None:
        """Cancel it; to be called in the loop."""
        if self._task is None:
            self.drop()
        else:
            self._task.cancel()

    def drop(self) -> None:
        """Forget what was never started."""
        if self._task is None:
            self._coroutine.close()
            self._over.set()

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._task = loop.create_task(self._coroutine)
        self._task.add_done_callback(self._finish)

    def _finish(self, task: asyncio.Task[_T]) -> None:
        if not task.cancelled():
            task.exception()  # whoever waited may be gone: then the loop must not complain that nobody looked
        self._over.set()
        if self._ended is not None:
            self._ended()


def _stop(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(stop.set)
    if not threading.main_thread().is_alive():  # the program ends, and will freeze the thread where it stands
        thread.join(_LAST_WORDS)


async def _feed(source: AsyncGenerator[_T], wanted: asyncio.Semaphore, items: SimpleQueue[Any]) -> None:
    """Put an item whenever one is wanted. One task for all: a time limit or a lock may span several items."""
    async with aclosing(source):
        await wanted.acquire()
        async for item in source:
            items.put(item)
            await wanted.acquire()


def _take(items: SimpleQueue[Any]) -> Any:
    while True:
        try:
            return items.get(timeout=_WAIT)
        except Empty:
            continue


def _serve(ready: SimpleQueue[tuple[asyncio.AbstractEventLoop, asyncio.Event]]) -> None:
    """Do what `asyncio.run` does, but for its last step.

    It waits for the pool of threads, in a new thread, which Python 3.12 refuses to a program that is ending.
    """
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    try:
        ready.put((loop, stop))
        loop.run_until_complete(_until(stop))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        loop.close()


async def _until(stop: asyncio.Event) -> None:
    await stop.wait()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)

"""Run third-party code so that it cannot take the host with it.

A plugin may hang, leave with SystemExit or print while it is imported. It therefore runs in a thread of its own with a
time limit, and what it prints is caught. That is protection against mistakes, not against malice: importing a plugin is
full trust, and nothing here stops `os._exit`.
"""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, TextIO

from attrs import frozen


class TookTooLong(Exception):
    """The code had not come back when its time was up; its thread goes on until the process ends."""


@frozen
class Result:
    """What came of the call: a value, or the exception that it ended with."""

    value: Any
    error: BaseException | None
    printed: str
    seconds: float


def guarded(function: Callable[[], Any], limit: float) -> Result:
    """Call `function` for at most `limit` seconds. Only KeyboardInterrupt gets out."""
    result: list[Any] = [None, None]

    def run() -> None:
        try:
            result[0] = function()
        except BaseException as error:  # noqa: BLE001 -- SystemExit at import is exactly what this is for
            result[1] = error

    thread = threading.Thread(target=run, name="peft-studio-plugin", daemon=True)
    started = time.monotonic()
    with _captured(thread) as printed:
        thread.start()
        thread.join(limit)
    seconds = time.monotonic() - started
    if thread.is_alive():
        return Result(None, TookTooLong(f"no answer after {limit:g} s"), printed.getvalue(), seconds)
    if isinstance(result[1], KeyboardInterrupt):
        raise result[1]
    return Result(result[0], result[1], printed.getvalue(), seconds)


class _captured:  # noqa: N801 -- reads as the context manager that it is
    """While open, what `thread` writes to sys.stdout is kept; every other thread writes as before."""

    def __init__(self, thread: threading.Thread) -> None:
        self._thread = thread

    def __enter__(self) -> io.StringIO:
        kept = io.StringIO()
        self._before = sys.stdout
        self._mine = _Split(self._before, kept, self._thread)
        sys.stdout = self._mine
        return kept

    def __exit__(self, *details: object) -> None:
        if sys.stdout is self._mine:
            sys.stdout = self._before


class _Split:
    """A sys.stdout that sends one thread's text elsewhere."""

    def __init__(self, real: TextIO, kept: io.StringIO, thread: threading.Thread) -> None:
        self._real = real
        self._kept = kept
        self._thread = thread

    def write(self, text: str) -> int:
        return self._target().write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target(), name)

    def _target(self) -> TextIO:
        return self._kept if threading.current_thread() is self._thread else self._real

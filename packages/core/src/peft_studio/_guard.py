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
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TextIO

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
    """While open, what `thread` writes to sys.stdout is kept; every other thread writes as before.

    Several plugins may be run at once: they share one way out, which is taken away after the last of them.
    """

    _lock: ClassVar = threading.Lock()
    _kept: ClassVar[dict[threading.Thread, io.StringIO]] = {}

    def __init__(self, thread: threading.Thread) -> None:
        self._thread = thread

    def __enter__(self) -> io.StringIO:
        kept = io.StringIO()
        with self._lock:
            self._kept[self._thread] = kept
            if not isinstance(sys.stdout, _Split):
                sys.stdout = _Split(sys.stdout, self._kept)
        return kept

    def __exit__(self, *details: object) -> None:
        with self._lock:
            del self._kept[self._thread]
            if not self._kept and isinstance(sys.stdout, _Split):
                sys.stdout = sys.stdout.real


class _Split:
    """A sys.stdout that sends the text of some threads elsewhere."""

    def __init__(self, real: TextIO, kept: Mapping[threading.Thread, TextIO]) -> None:
        self.real = real
        self._kept = kept

    def write(self, text: str) -> int:
        return self._target().write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._target(), name)

    def _target(self) -> TextIO:
        return self._kept.get(threading.current_thread(), self.real)

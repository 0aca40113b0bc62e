"""What the interpreter says of an exception that nobody caught, without secrets: in the program, a thread, a `del`."""

from __future__ import annotations

import sys
import threading
from types import TracebackType

from peft_studio.redaction.errors import redacted_error


def install() -> None:
    """Mask the exceptions before the hooks that were there so far see them. Twice is as good as once."""
    if not isinstance(sys.excepthook, _Hook):
        sys.excepthook = _Hook(sys.excepthook)
        threading.excepthook = _ThreadHook(threading.excepthook)
        sys.unraisablehook = _UnraisableHook(sys.unraisablehook)


class _Hook:
    def __init__(self, previous: object) -> None:
        self._previous = previous

    def __call__(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        masked = redacted_error(error)
        self._previous(type(masked), masked, masked.__traceback__ or trace)  # type: ignore[operator]  # it was a hook


class _ThreadHook:
    def __init__(self, previous: object) -> None:
        self._previous = previous

    def __call__(self, details: threading.ExceptHookArgs) -> None:
        if details.exc_value is not None:
            masked = redacted_error(details.exc_value)
            details = threading.ExceptHookArgs((type(masked), masked, masked.__traceback__, details.thread))
        self._previous(details)  # type: ignore[operator]  # it was a hook


class _UnraisableHook:
    def __init__(self, previous: object) -> None:
        self._previous = previous

    def __call__(self, details: sys.UnraisableHookArgs) -> None:
        if details.exc_value is not None:
            redacted_error(details.exc_value)
        self._previous(details)  # type: ignore[operator]  # it was a hook

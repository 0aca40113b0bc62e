"""How much of a long download has arrived, for whoever waits for it: the transport counts, a listener shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_listener: ContextVar[Callable[[int], None] | None] = ContextVar("peft_studio_transfers", default=None)


@contextmanager
def counted(listener: Callable[[int], None]) -> Iterator[None]:
    """Let `listener` hear of each piece of a file that arrives meanwhile, in bytes, in whatever thread it does."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def listener() -> Callable[[int], None]:
    """Who is to be told of the pieces of a file, from any thread."""
    return _listener.get() or _nobody


def _nobody(size: int) -> None:
    return None

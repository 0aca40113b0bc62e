"""Keeps the secrets that this process uses out of everything it says: errors, log records, crash reports, events.

Secrets are found by their values, so it does not matter who says them or where they come from. A value is looked for
from the moment a manager gathers it until nobody holds its `Secret` any more; the command line looks for it until it
ends. While there are none, nothing is looked at.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from attrs import evolve, fields, has

from peft_studio.redaction.masking import Mask
from peft_studio.secret import Secret

__all__ = ["Mask", "hold", "keep_until_the_end", "mask", "redacted"]

Item = TypeVar("Item")

#: What this process must not say.
mask = Mask()
_lock = threading.RLock()
#: Objects that are counted already, by id; a manager holds the same ones at each connect.
_held: set[int] = set()
_kept: list[Secret] | None = None


def hold(secrets: Iterable[Secret]) -> None:
    """Mask these everywhere in this process, for as long as somebody holds them."""
    for secret in secrets:
        with _lock:
            if id(secret) in _held:
                continue
            _held.add(id(secret))
            mask.add(secret.reveal())
            weakref.finalize(secret, _release, id(secret), secret.reveal()).atexit = False
            if _kept is not None:
                _kept.append(secret)
    if mask:
        from peft_studio.redaction.logs import install

        install()


def keep_until_the_end() -> None:
    """Hold on to every secret from now on, and mask reports of crashes too: for a program that serves one person."""
    from peft_studio.redaction.crashes import install

    global _kept  # noqa: PLW0603 -- a decision for the whole process
    _kept = [] if _kept is None else _kept
    install()


def redacted(item: Item) -> Item:
    """`item` with the texts in it masked: in lists, mappings and attrs objects, at any depth. All else stays."""
    masked: Item = _redacted(item) if mask else item
    return masked


def _redacted(item: Any) -> Any:
    if isinstance(item, str):
        return mask(item)
    if isinstance(item, bytes):
        return mask(item.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    if isinstance(item, Mapping):
        return {_redacted(key): _redacted(value) for key, value in item.items()}
    if type(item) in (list, tuple):
        return type(item)(map(_redacted, item))
    if has(type(item)):
        values = {field.alias: getattr(item, field.name) for field in fields(type(item)) if field.init}
        changes = {name: _redacted(value) for name, value in values.items()}
        return evolve(item, **changes) if changes != values else item
    return item


def _release(identity: int, text: str) -> None:
    with _lock:
        _held.discard(identity)
        mask.discard(text)

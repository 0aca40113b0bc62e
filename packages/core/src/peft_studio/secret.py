"""`Secret`: a text that shows itself to nobody who does not ask for it by name.

A credential travels through many hands before a connector gets it, and any of them may print what it holds: a log line,
a traceback with its variables, `json.dumps(default=str)`, a pickle on its way to another process.
"""

from __future__ import annotations

import hmac
from typing import Final, NoReturn, Self, final

MASK: Final = "***"


@final
class Secret:
    """Holds a text; `reveal()` is the only way to it. Two with the same text are equal; no plain text equals one."""

    __slots__ = ("__weakref__", "_text")

    def __init__(self, text: str | Secret) -> None:
        value = text.reveal() if isinstance(text, Secret) else text
        if not isinstance(value, str):
            raise TypeError(f"a secret must be a text, not {type(value).__name__}")
        object.__setattr__(self, "_text", value)

    def reveal(self) -> str:
        """The text itself. Whoever calls this takes care of it."""
        text: str = object.__getattribute__(self, "_text")
        return text

    def __repr__(self) -> str:
        return f"Secret('{MASK}')"

    def __str__(self) -> str:
        return MASK

    def __format__(self, specification: str) -> str:
        return format(MASK, specification)

    def __bool__(self) -> bool:
        return bool(self.reveal())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_bytes(self), _bytes(other))

    def __hash__(self) -> int:
        return hash((Secret, self.reveal()))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a secret cannot be changed")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret cannot be pickled; hand over revealed texts only where they are safe")


def _bytes(secret: Secret) -> bytes:
    return secret.reveal().encode("utf-8", "surrogatepass")

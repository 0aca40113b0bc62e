"""How the transport's errors are made (secrets masked in every text, the connector named), and when to ask again.

No error keeps the HTTP library's exception as its cause: those carry the request, and with it the token and the query.
"""

from __future__ import annotations

import random
from typing import Any, Final

from attrs import frozen

from peft_studio._transport.observed import Observer
from peft_studio.errors import PeftStudioError
from peft_studio.redaction.masking import Mask

#: Seconds. A pause that a caller would not notice; a longer one is the caller's decision.
LONGEST_WAIT: Final = 5.0
#: Seconds before the first repetition, and before any.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0


@frozen
class ErrorMaker:
    """Makes errors of our tree whose texts hold no secret."""

    connector: str | None
    mask: Mask
    observer: Observer

    def __call__(
        self,
        kind: type[PeftStudioError],
        what: str,
        *,
        why: str | None = None,
        remedy: str | None = None,
        **details: Any,
    ) -> PeftStudioError:
        hidden = None if why is None else self.mask(why)
        error = kind(self.mask(what), why=hidden, remedy=remedy, connector=self.connector, **details)
        error.observed = self.observer.observed
        return error


class AskAgain(Exception):
    """No answer came, or not all of it, or the platform is out of order: a repetition may help.

    It never leaves the transport: who has no more repetitions raises `error`. `wait` is in seconds.
    """

    def __init__(self, error: PeftStudioError, wait: float = 0.0) -> None:
        super().__init__(error.what)
        self.error = error
        self.wait = wait


def pause(number: int, wait: float = 0.0) -> float:
    """Seconds before repetition `number` (from 0): twice as long each time, never in step with other clients."""
    longest: float = min(_FIRST_PAUSE * 2**number, _LONGEST_PAUSE)
    return max(wait, longest * random.uniform(0.5, 1.0))  # noqa: S311 -- nobody gains from guessing it

"""How the transport's errors are made (secrets masked in every text, the connector named), and when to ask again.

No error keeps the HTTP library's exception as its cause: those carry the request, and with it the token and the query.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

from attrs import frozen

from peft_studio.errors import PeftStudioError

#: Shorter ones would mask half of the words of a sentence.
_SHORTEST_SECRET = 4
#: Seconds before the first repetition, and before any.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0


class Mask:
    """Replaces every secret in a text by ``***``, also where it is quoted for a URL or for JSON."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _forms(secret) if len(form) >= _SHORTEST_SECRET}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        self._pattern = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def __call__(self, text: str) -> str:
        return text if self._pattern is None else self._pattern.sub("***", text)

    def hides(self, text: str) -> bool:
        """True when there is a secret in the text."""
        return self(text) != text

    def __repr__(self) -> str:
        return "Mask(***)"


@frozen
class ErrorMaker:
    """Makes errors of our tree whose texts hold no secret."""

    connector: str | None
    mask: Mask

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
        return kind(self.mask(what), why=hidden, remedy=remedy, connector=self.connector, **details)


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


def _forms(secret: str) -> set[str]:
    plain = {secret, secret.strip()}
    try:
        quoted = {quoting(form) for form in plain for quoting in (_quoted, quote, quote_plus)}
    except UnicodeEncodeError:  # half of a surrogate pair: cannot stand in a URL
        quoted = set()
    return plain | quoted | {json.dumps(form)[1:-1] for form in plain}


def _quoted(text: str) -> str:
    return quote(text, safe="")

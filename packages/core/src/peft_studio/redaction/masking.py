"""What a secret looks like in a text, and how it is taken out of one."""

from __future__ import annotations

import base64
import html
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

from peft_studio.secret import MASK

#: A shorter one is left alone: it would mask half of the words of every sentence.
SHORTEST_SECRET = 4
#: A line of a secret of many lines, such as a private key, is a secret of its own from this length.
_SHORTEST_LINE = 8


class Mask:
    """Replaces every secret in a text by ``***``, whatever it is quoted for: URL, JSON, HTML, base64."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._counts: Counter[str] = Counter()
        self._forms: tuple[str, ...] = ()
        for secret in secrets:
            self.add(secret)

    def add(self, secret: str) -> None:
        """One more secret to replace, or one more who knows it."""
        self._counts[secret] += 1
        if self._counts[secret] == 1:
            self._forms = _longest_first({*self._forms, *forms(secret)})

    def discard(self, secret: str) -> None:
        """One less who knows it; with the last it is a text like any other."""
        self._counts[secret] -= 1
        if self._counts[secret] <= 0:
            del self._counts[secret]
            self._forms = _longest_first({form for each in self._counts for form in forms(each)})

    def __call__(self, text: str) -> str:
        for form in self._forms:
            if form in text:
                text = text.replace(form, MASK)
        return text

    def hides(self, text: str) -> bool:
        """True when there is a secret in the text."""
        return any(form in text for form in self._forms)

    def __bool__(self) -> bool:
        """True when there is anything to look for."""
        return bool(self._forms)

    def __repr__(self) -> str:
        return f"Mask({MASK})"


def forms(secret: str) -> set[str]:
    """What a text may carry in place of `secret`; none that is too short."""
    lines = [line.strip() for line in secret.splitlines()]
    plain = {secret, secret.strip(), *(line for line in lines if len(line) >= _SHORTEST_LINE)}
    found = {form for text in plain if len(text) >= SHORTEST_SECRET for form in _written(text)}
    return {form for form in found if len(form) >= SHORTEST_SECRET}


def _written(text: str) -> Iterator[str]:
    for form in {text, *_in_base64(text.encode("utf-8", "surrogatepass"))}:
        yield form
        yield from _in_url(form)
    for is_ascii in (True, False):
        in_json = json.dumps(text, ensure_ascii=is_ascii)[1:-1]
        yield from (in_json, in_json.replace("/", "\\/"))
    yield repr(text)[1:-1]
    yield from (html.escape(text), html.escape(text, quote=False))


def _in_url(text: str) -> Iterator[str]:
    try:
        quoted = [quote(text, safe=""), quote(text), quote_plus(text)]
    except UnicodeEncodeError:  # half of a surrogate pair: cannot stand in a URL
        return
    for form in quoted:
        first, *rest = form.split("%")
        yield form
        yield first + "".join(f"%{piece[:2].lower()}{piece[2:]}" for piece in rest)


def _in_base64(raw: bytes) -> Iterator[str]:
    """As it stands there alone, and behind something else ("user:…"), less the letters that it shares with that."""
    for alone in (base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()):
        yield from (alone, alone.rstrip("="))
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + raw).decode()
        inner = whole[(before * 8 + 5) // 6 : (before + len(raw)) * 8 // 6]
        yield from (inner, inner.replace("+", "-").replace("/", "_"))


def _longest_first(found: set[str]) -> tuple[str, ...]:
    return tuple(sorted(found, key=lambda form: (-len(form), form)))

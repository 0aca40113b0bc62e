"""What comes back: JSON, or an error of our tree with the platform's own words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, Final

from attrs import frozen

from peft_studio._transport.errors import LONGEST_WAIT, AskAgain, ErrorMaker
from peft_studio._transport.observed import retry_after
from peft_studio._transport.wire import Answer
from peft_studio.errors import (
    ConnectionFailed,
    InsufficientCreditsError,
    InvalidCredentials,
    PeftStudioError,
    PlatformError,
    RateLimitError,
)

#: Bytes, decompressed. No API answers with more; a mistake or an attack might.
SIZE_LIMIT: Final = 64 * 2**20
_LONGEST_WORDS = 300
_WORDS = ("message", "detail", "error_description", "error", "errors", "msg", "reason", "title", "description")
_DEPTH = 5


@frozen
class AnswerReader:
    """Reads answers of one platform."""

    make_error: ErrorMaker

    async def document(self, answer: Answer, missing: type[PeftStudioError], *, may_be_empty: bool = False) -> Any:
        """The JSON of a good answer; None for 204. Raises what a bad one means."""
        if not is_success(answer):
            await self.refuse(answer, missing)
        if answer.status == HTTPStatus.NO_CONTENT:
            return None
        body = await self.body(answer)
        return None if may_be_empty and not body else self._parsed(answer, body)

    async def refuse(self, answer: Answer, missing: type[PeftStudioError], *, is_ours: bool = True) -> None:
        """Raise what an answer with a bad status means. Without `is_ours` it comes from another origin."""
        body = await self.body(answer)
        if answer.status >= 500:
            raise self._again(answer, ConnectionFailed, body)
        if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise self._again(answer, RateLimitError, body)
        if answer.content_type == "text/html" or (body and _is_json(answer)):
            self._parsed(answer, body)  # a proxy's page, or what is left of an answer, says nothing of the platform
        raise self._error(answer, _kind(answer.status, missing, is_ours=is_ours), body)

    def unexpected(self, answer: Answer, expected: str, body: bytes = b"") -> PeftStudioError:
        """The error for an answer that is not the platform's: a login page, a cut document, nothing at all."""
        kind = answer.content_type or "no content type"
        words = _words_of_text(body) if body else "empty"
        what = f"{answer.request} answered {answer.status}, but not with {expected}"
        error = self.make_error(ConnectionFailed, what, why=self._one_line(f"{kind}: {words}"))
        error.http_status = answer.status
        return error

    async def body(self, answer: Answer) -> bytes:
        """All of it, up to a limit."""
        body = bytearray()
        async with aclosing(answer.chunks()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > SIZE_LIMIT:
                    what = f"{answer.request} answered with more than {SIZE_LIMIT // 2**20} MiB"
                    raise self.make_error(ConnectionFailed, what)
        return bytes(body)

    def _parsed(self, answer: Answer, body: bytes) -> Any:
        if not _is_json(answer):
            raise self.unexpected(answer, "JSON", body)
        try:
            return json.loads(body)
        except (ValueError, RecursionError):
            pass
        raise self.unexpected(answer, "JSON", body)

    def _again(self, answer: Answer, kind: type[PeftStudioError], body: bytes) -> Exception:
        """Worth another attempt when the platform wants no longer pause than ours; a 429 must name one."""
        pause = answer.rest if kind is RateLimitError else retry_after(answer.headers)
        details = {"retry_after": pause} if kind is RateLimitError else {}
        error = self._error(answer, kind, body, **details)
        is_short = kind is not RateLimitError if pause is None else pause <= LONGEST_WAIT
        return AskAgain(error, pause or 0.0) if is_short else error

    def _error(self, answer: Answer, kind: type[PeftStudioError], body: bytes, **details: Any) -> PeftStudioError:
        words = self._one_line(_words(answer, body))
        what = f"{answer.request} answered {answer.status}"
        error = self.make_error(kind, what, why=words or _phrase(answer.status), **details)
        error.http_status = answer.status
        return error

    def _one_line(self, text: str) -> str:
        """Masked before it is cut, so that no half of a secret remains."""
        masked = self.make_error.mask(text)
        line = " ".join("".join(letter if letter.isprintable() else " " for letter in masked).split())
        return line if len(line) <= _LONGEST_WORDS else line[: _LONGEST_WORDS - 1] + "…"


def is_success(answer: Answer) -> bool:
    """True for 2xx."""
    return 200 <= answer.status < 300


def _kind(status: int, missing: type[PeftStudioError], *, is_ours: bool) -> type[PeftStudioError]:
    if status == HTTPStatus.NOT_FOUND:
        return missing
    if not 400 <= status < 500:
        return ConnectionFailed
    if status == HTTPStatus.PAYMENT_REQUIRED and is_ours:
        return InsufficientCreditsError
    # Another origin never saw our credentials: its refusal says nothing of them.
    return InvalidCredentials if is_ours and status in (401, 403) else PlatformError


def _is_json(answer: Answer) -> bool:
    return answer.content_type == "application/json" or answer.content_type.endswith("+json")


def _words(answer: Answer, body: bytes) -> str:
    """The sentence in a body of a usual shape, or its first line."""
    if _is_json(answer):
        try:
            return _words_of_json(json.loads(body), _DEPTH) or body.decode("utf-8", "replace")
        except (ValueError, RecursionError):
            pass
    return _words_of_text(body)


def _words_of_text(body: bytes) -> str:
    text = body.decode("utf-8", "replace").strip()
    title = re.search(r"<title[^>]*>(.*?)</title", text[:10_000], re.IGNORECASE | re.DOTALL)
    return title[1].strip() if title else text.partition("\n")[0]


def _words_of_json(found: Any, depth: int) -> str:
    if isinstance(found, str):
        return found.strip()
    if isinstance(found, list) and depth:
        return "; ".join(filter(None, (_words_of_json(item, depth - 1) for item in found[:5])))
    if not isinstance(found, Mapping) or not depth:
        return ""
    for key in _WORDS:
        if words := _words_of_json(found.get(key), depth - 1):
            return _with_place(found, words)
    named = [(key, _words_of_json(value, depth - 1)) for key, value in list(found.items())[:5]]
    return "; ".join(f"{key}: {words}" for key, words in named if words)


def _with_place(found: Mapping[str, Any], words: str) -> str:
    """Some name the faulty field beside the message, as a path in `loc`."""
    place = found.get("loc")
    return f"{'.'.join(map(str, place))}: {words}" if isinstance(place, list) else words


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "the platform said nothing more"

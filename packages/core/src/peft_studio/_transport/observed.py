"""What an answer says of itself: the platform's clock, how much may still be asked, the number of the request.

There is no one way to tell a rate limit. Read are the structured `RateLimit` of the IETF's drafts, and
`RateLimit-Remaining` and its like with or without `X-`, for requests; a date of the end may be seconds from now,
seconds or milliseconds since 1970, a text such as `6m0s`, or ISO 8601.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from attrs import define

from peft_studio.models import Observed, RateLimit

_FLAT = re.compile(r"((?:x-)?rate-?limit)-(limit|remaining|reset)(-requests)?")
#: One member of a structured list: a name and its parameters.
_MEMBER = re.compile(r'(?:"([^"]*)"|([\w*.-]+))((?:\s*;\s*[\w*.-]+(?:=(?:"[^"]*"|:[^:]*:|[\w.+-]+))?)+)\s*(?=,|$)')
_PARAMETER = re.compile(r"(\w+)=(\d{1,12})(?![\w.])")
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
#: A smaller number is seconds from now; from here on it is a date, from there on one in milliseconds.
_FIRST_DATE, _FIRST_MILLISECONDS = 1e9, 1e11
_LONGEST_ID = 100
_LONG_AGO = datetime.fromtimestamp(0, UTC)
#: Seconds. Then a platform is asked again that has named an end without asking us to wait for it.
_LONGEST_CONCLUSION = 3600.0


@define
class Observer:
    """Listens to the answers of one origin. What an answer does not mention stays as it was."""

    origin: str
    mask: Callable[[str], str]
    observed: Observed | None = None

    def note(self, origin: str, headers: Mapping[str, str], sent: float, received: float) -> None:
        """Take in the head of an answer; times are seconds since 1970, by our clock."""
        if origin != self.origin:
            return
        at = datetime.fromtimestamp(received, UTC)
        before = self.observed or Observed(at=at)
        told = clock_skew(headers, sent, received)
        skew = before.clock_skew if told is None else told
        number = headers.get("x-request-id")
        self.observed = Observed(
            at=at,
            clock_skew=skew,
            rate_limit=rate_limit(headers, received, skew or 0.0) or before.rate_limit,
            request_id=None if number is None else self.mask(number)[:_LONGEST_ID],
        )


def clock_skew(headers: Mapping[str, str], sent: float, received: float) -> float | None:
    """Seconds that the platform's clock is ahead; 0 when the date fits, None without one.

    The date is a whole second, and was written at some time between `sent` and `received`. `Age` tells how long an
    answer has lain in a cache since.
    """
    date = http_date(headers.get("date", ""))
    if date is None:
        return None
    age = headers.get("age", "")
    began = date.timestamp() + (int(age) if re.fullmatch(r"\d{1,9}", age) else 0)
    least, most = began - received, began + 1 - sent
    return 0.0 if least <= 0 <= most else round((least + most) / 2, 1)


def rate_limit(headers: Mapping[str, str], received: float, skew: float = 0.0) -> RateLimit | None:
    """The limit of which least is left, and of two the one that lasts; None when the answer names none."""
    found = [*_structured(headers, received), *_flat(headers, received, skew)]
    return min(found, key=lambda each: (each.remaining, -(each.resets or _LONG_AGO).timestamp()), default=None)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the platform asks to wait; a date counts from the platform's own clock."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
        return float(value)
    until = http_date(value)
    if until is None:
        return None
    now = http_date(headers.get("date", "")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds())


def rest(status: int, headers: Mapping[str, str], received: float, skew: float = 0.0) -> float | None:
    """Seconds for which the platform wants no more requests: its 429 says so, or a limit with nothing left."""
    wanted = [retry_after(headers) if status == HTTPStatus.TOO_MANY_REQUESTS else None]
    limit = rate_limit(headers, received, skew)
    if limit is not None and limit.remaining == 0 and limit.resets is not None:
        wanted.append(min(max(0.0, limit.resets.timestamp() - received), _LONGEST_CONCLUSION))
    return max((seconds for seconds in wanted if seconds is not None), default=None)


def _structured(headers: Mapping[str, str], received: float) -> Iterator[RateLimit]:
    """`RateLimit: "default";r=50;t=30` and `RateLimit-Policy: "default";q=100`; of an older draft, `remaining=50`."""
    text = headers.get("ratelimit", "")
    quotas = dict(_members(headers.get("ratelimit-policy", "")))
    for name, values in _members(text):
        if "r" in values:
            limit = quotas.get(name, {}).get("q")
            yield RateLimit(remaining=values["r"], limit=limit, resets=_after(received, values.get("t")))
    old = {name: int(value) for name, value in _PARAMETER.findall(text)}
    if "remaining" in old:
        resets = _after(received, old.get("reset"))
        yield RateLimit(remaining=old["remaining"], limit=old.get("limit"), resets=resets)


def _members(text: str) -> Iterator[tuple[str, dict[str, int]]]:
    for match in _MEMBER.finditer(text):
        yield match[1] or match[2], {name: int(value) for name, value in _PARAMETER.findall(match[3])}


def _flat(headers: Mapping[str, str], received: float, skew: float) -> Iterator[RateLimit]:
    """`X-RateLimit-Remaining: 50`, `X-RateLimit-Limit: 100`, `X-RateLimit-Reset: 30`."""
    families: dict[tuple[str, str | None], dict[str, str]] = {}
    for name, value in headers.items():
        match = _FLAT.fullmatch(name.lower())
        if match is not None:
            families.setdefault((match[1], match[3]), {})[match[2]] = value
    for values in families.values():
        remaining = _whole(values.get("remaining", ""))
        if remaining is not None:
            resets = _end(values.get("reset", "").strip(), received, skew)
            yield RateLimit(remaining=remaining, limit=_whole(values.get("limit", "")), resets=resets)


def _whole(text: str) -> int | None:
    """The number that the text begins with; what follows it may tell of windows."""
    match = re.match(r"\s*(\d{1,12})(?![\d.])", text)
    return None if match is None else int(match[1])


def _end(text: str, received: float, skew: float) -> datetime | None:
    """When the window ends; a date of the platform is translated to our clock."""
    if re.fullmatch(r"\d{1,13}(\.\d{1,9})?", text):
        number = float(text)
        if number < _FIRST_DATE:
            return _after(received, number)
        return _moment((number / 1000 if number >= _FIRST_MILLISECONDS else number) - skew)
    if text and (match := _DURATION.fullmatch(text)):
        hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
        return _after(received, hours * 3600 + minutes * 60 + seconds + milliseconds / 1000)
    try:
        return _moment(_aware(datetime.fromisoformat(text)).timestamp() - skew)
    except ValueError:
        return None


def http_date(text: str) -> datetime | None:
    """The date of a header; None for anything else."""
    try:
        return _aware(parsedate_to_datetime(text))
    except (ValueError, OverflowError):
        return None


def _after(received: float, seconds: float | None) -> datetime | None:
    return None if seconds is None else _moment(received + seconds)


def _moment(time: float) -> datetime | None:
    """None for a time that no calendar has."""
    try:
        return datetime.fromtimestamp(time, UTC)
    except (ValueError, OverflowError, OSError):
        return None


def _aware(date: datetime) -> datetime:
    return date if date.tzinfo else date.replace(tzinfo=UTC)

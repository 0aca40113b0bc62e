"""What is sent: a request, the address that it goes to, and where a redirect may take it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterable, Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from attrs import field, frozen

from peft_studio.errors import InvalidConfig

_PORTS = {"http": 80, "https": 443}
#: What HTTP allows in the value of a header, without the letters beyond ASCII that every server reads differently.
_HEADER_VALUE = re.compile(r"[!-~]([ -~\t]*[!-~])?")

Content = bytes | Callable[[], AsyncIterable[bytes]]


@frozen
class Request:
    """One request. Its text is its method and address, without the query."""

    method: str
    url: str
    #: May hold secrets, as the query may.
    headers: Mapping[str, str] = field(factory=dict, repr=False)
    #: A function makes the stream anew for every attempt.
    content: Content | None = field(default=None, repr=False)
    #: It ends something, or is expected to be repeated until it arrives: no limit holds it back for long.
    is_urgent: bool = False

    @property
    def path(self) -> str:
        """The path alone, as it is logged."""
        return urlsplit(self.url).path or "/"

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return origin(self.url)

    def __str__(self) -> str:
        return f"{self.method} {self.origin}{self.path}"


def checked_base(url: str) -> str:
    """The address of an API without its last slash. Raises `InvalidConfig` when it is not one."""
    try:
        parts = urlsplit(url)
        is_fine = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, a bracket too many
        is_fine = False
    if not is_fine or re.search(r"[\s\x00-\x1f\\]", url):
        raise InvalidConfig("the address of the platform is no http:// or https:// address", why=_shown(url))
    if "@" in parts.netloc:
        raise InvalidConfig("the address of the platform holds a user name or password", remedy="send them as a header")
    if parts.query or parts.fragment:
        raise InvalidConfig("the address of the platform may not end in a query or fragment", why=_shown(url))
    return url.rstrip("/")


def address(base: str, segments: tuple[str, ...], query: Mapping[str, Any] | None) -> str:
    """The URL of `segments` under `base`. Raises `InvalidConfig` for a segment that would lead elsewhere."""
    url = "/".join([base, *map(_quoted, segments)])
    pairs = [(key, _as_text(value)) for key, value in (query or {}).items() if value is not None]
    return f"{url}?{urlencode(pairs, doseq=True)}" if pairs else url


def origin(url: str) -> str:
    """Scheme, host and port as one text; the port only where it is not the usual one."""
    parts = urlsplit(url)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port in (None, _PORTS.get(parts.scheme)) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def encoded(document: Any) -> bytes:
    """`document` as JSON. Raises `InvalidConfig` when JSON cannot say it."""
    try:
        return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidConfig("the request cannot be written as JSON", why=str(error)) from None


def is_header_value(value: str) -> bool:
    """True when HTTP can carry it: printable ASCII, no blank at either end, no line break."""
    return value == "" or _HEADER_VALUE.fullmatch(value) is not None


def merged(*several: Mapping[str, str] | None) -> dict[str, str]:
    """One set of headers; a later one wins, whatever the case of its name."""
    return {name.lower(): value for headers in several for name, value in (headers or {}).items()}


def _quoted(segment: Any) -> str:
    # "." and ".." are resolved on the way even when they are quoted, and an empty one asks for the whole collection.
    if not isinstance(segment, str) or segment.strip() in ("", ".", ".."):
        raise InvalidConfig(f"{segment!r} cannot be part of an address", remedy="pass an id or a name")
    try:
        return quote(segment, safe="")
    except UnicodeEncodeError:
        raise InvalidConfig("an id with half of a character cannot be part of an address") from None


def _as_text(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return [_as_text(item) for item in value] if isinstance(value, list | tuple) else str(value)


def _shown(url: str) -> str:
    """The URL as far as it can hold no secret."""
    return repr(re.split(r"[?#]", url, maxsplit=1)[0].rpartition("@")[2])

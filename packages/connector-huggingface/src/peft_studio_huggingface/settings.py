"""What the user may choose, read from the texts that `connect` is given."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Self
from urllib.parse import urlsplit

from attrs import frozen

from peft_studio import InvalidConfig, Problem

BASE_URL: Final = "https://huggingface.co"


@frozen(kw_only=True)
class Settings:
    """Every choice; what is not given is as here."""

    #: A user or an organisation; None for the user of the token.
    namespace: str | None = None
    #: Other formats than safetensors can hold code that runs when they are loaded.
    weights: str = "safetensors"
    search_limit: int = 1000
    #: None leaves it to the address.
    xet: bool | None = None
    base_url: str = BASE_URL

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Self:
        """From what `connect` was given; an empty text is as good as none. Raises `InvalidConfig`."""
        found: dict[str, Any] = {}
        problems = []
        for name, read in _READERS.items():
            text = (values.get(name) or "").strip()
            try:
                found |= {name: read(text)} if text else {}
            except ValueError as fault:
                problems.append(Problem(field=name, message=f"{name} must be {fault}, not {text!r}"))
        if problems:
            raise InvalidConfig.from_problems("settings of huggingface", problems)
        return cls(**found)

    @property
    def uses_xet(self) -> bool:
        """Mirrors have no Xet, and a client that uses it never falls back to LFS."""
        return self.base_url == BASE_URL if self.xet is None else self.xet


def _namespace(text: str) -> str:
    if not re.fullmatch(r"[\w.-]+", text, re.ASCII):
        raise ValueError("the name of a user or an organisation")
    return text


def _weights(text: str) -> str:
    if text.lower() not in ("safetensors", "all"):
        raise ValueError("safetensors or all")
    return text.lower()


def _positive(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) < 1:
        raise ValueError("a whole number of at least 1")
    return int(text)


def _switch(text: str) -> bool:
    if text.lower() not in ("yes", "no"):
        raise ValueError("yes or no")
    return text.lower() == "yes"


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("https", "http") or not parts.netloc:
        raise ValueError("an address that begins with https://")
    return text.rstrip("/")


_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "namespace": _namespace,
    "weights": _weights,
    "search_limit": _positive,
    "xet": _switch,
    "base_url": _address,
}

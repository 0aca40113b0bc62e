"""What the connector that is being called has declared, for the transport that it makes meanwhile.

A connector makes its own `Transport`, which knows nothing of connector.json. The session that calls the connector does;
what it says here holds for the call and for every task that the connector starts in it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attrs import frozen

if TYPE_CHECKING:
    from peft_studio.manifest import Manifest

_current: ContextVar[Declared | None] = ContextVar("_current", default=None)


@frozen
class Declared:
    """Where a connector may connect to, and how often it may ask."""

    #: Names, and `*.example.com` for all below it.
    hosts: frozenset[str]
    #: Names that the user gave, in an address: a server of their own, a sandbox.
    given: frozenset[str]
    rate_limits: Mapping[str, float]

    @classmethod
    def of(cls, manifest: Manifest, values: Mapping[str, str]) -> Declared:
        """From connector.json, and what the user gave for its fields."""
        secret = {field.key for field in manifest.credentials if field.secret}
        given = {_host(value) for key, value in values.items() if key not in secret}
        hosts = frozenset(host.lower() for host in manifest.hosts)
        return cls(hosts, frozenset(given - {""}), manifest.rate_limits or {})

    def allows(self, url: str) -> bool:
        """True for a host that is declared or was given; whoever gave one of this machine's may use all of them."""
        host = _host(url)
        if host in self.hosts or host in self.given:
            return True
        if _is_loopback(host):
            return any(_is_loopback(each) for each in self.given)
        return any(each.startswith("*.") and host.endswith(each[1:]) for each in self.hosts)


def declared() -> Declared | None:
    """What holds now; None outside of a connector's calls, and for a connector without connector.json."""
    return _current.get()


@contextmanager
def declaring(what: Declared | None) -> Iterator[None]:
    """Let it hold for what is called inside."""
    token = _current.set(what)
    try:
        yield
    finally:
        _current.reset(token)


def _host(address: str) -> str:
    """The host of an address, be it without a scheme; empty for what is none."""
    try:
        return (urlsplit(address if "://" in address else f"//{address}").hostname or "").lower()
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")

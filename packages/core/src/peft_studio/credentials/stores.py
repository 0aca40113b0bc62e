"""What `auth login` stores: an entry for each connector, which says for whose connector it was given.

The distribution is part of the entry, so that no other file can drift from it. Whoever owns the connector's name later
on, and is another distribution, is not handed the secrets until the user logs in again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Protocol

from attrs import frozen

from peft_studio._metadata import normalized
from peft_studio.credentials.found import Source
from peft_studio.errors import PeftStudioError
from peft_studio.secret import Secret


class StoreUnusable(PeftStudioError):
    """A store cannot be asked: it is not there, is locked, or gives no answer."""


class NoStore(StoreUnusable):
    """There is no such store on this machine: nothing can be in it."""


@frozen
class Entry:
    """The stored fields of one connector, and the distribution that owned its name then."""

    distribution: str
    fields: Mapping[str, Secret]

    def belongs_to(self, distribution: str | None) -> bool:
        """True when that distribution may have the secrets."""
        return distribution is not None and normalized(self.distribution) == normalized(distribution)

    def to_json(self) -> str:
        """What a store keeps. It holds the secrets."""
        fields = {key: secret.reveal() for key, secret in self.fields.items()}
        return json.dumps({"distribution": self.distribution, "fields": fields})

    @classmethod
    def from_json(cls, text: str, place: str) -> Entry:
        """The entry that a store kept. Raises `StoreUnusable` for what is none, and does not repeat it."""
        try:
            content = json.loads(text)
            fields = {str(key): Secret(value) for key, value in content["fields"].items()}
            return cls(str(content["distribution"]), fields)
        except (ValueError, LookupError, TypeError, AttributeError):
            what = f"what {place} holds was not written by peft-studio, or by a newer one"
            raise StoreUnusable(what, remedy="upgrade peft-studio, or log in again") from None


class Store(Protocol):
    """A place that keeps entries by the names of connectors. Every method may raise `StoreUnusable`."""

    source: Source

    @property
    def detail(self) -> str:
        """Which keyring, or which file."""

    def open(self) -> None:
        """See that entries can be kept here, and do what the user has to do for it."""

    def get(self, connector: str) -> Entry | None:
        """The entry, or None."""

    def put(self, connector: str, entry: Entry) -> None:
        """Keep the entry, in place of one that is there."""

    def remove(self, connector: str) -> bool:
        """Remove the entry; False when there is none."""

"""Where a credential was found: data that anybody may see."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen


class Source(StrEnum):
    """Who may know a credential, the strongest first."""

    ARGUMENT = "argument"
    ENVIRONMENT = "environment"
    VAULT = "vault plugin"
    ENCRYPTED_FILE = "encrypted file"
    KEYRING = "keyring"
    LOGIN_FILE = "login file"

    @property
    def is_ours(self) -> bool:
        """True when `auth login` writes it, and `auth logout` removes it."""
        return self in (Source.ENCRYPTED_FILE, Source.KEYRING)


@frozen
class Found:
    """A field was found at a source; `detail` names the variable, plugin, keyring or file."""

    field: str
    source: Source
    detail: str | None = None

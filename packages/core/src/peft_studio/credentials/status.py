"""What `auth status` shows: for each field who has it, and whom that hides. Values are no part of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen

from peft_studio.credentials.found import Found
from peft_studio.credentials.sources import Sources, Vault
from peft_studio.credentials.stores import Store
from peft_studio.errors import PeftStudioError
from peft_studio.manifest import Manifest


@frozen(kw_only=True)
class FieldStatus:
    """One field of one connector."""

    connector: str
    field: str
    required: bool
    secret: bool
    #: The strongest source that has it; None when nobody does.
    found: Found | None
    #: Weaker ones that have it too, and are not asked.
    hidden: tuple[Found, ...]

    @property
    def is_missing(self) -> bool:
        """True when the connector cannot connect without it."""
        return self.required and self.found is None

    def to_dict(self) -> dict[str, Any]:
        """The shape that `auth status --json` promises."""
        return {
            "connector": self.connector,
            "field": self.field,
            "required": self.required,
            "secret": self.secret,
            "source": None if self.found is None else self.found.source,
            "detail": None if self.found is None else self.found.detail,
            "hidden": [{"source": found.source, "detail": found.detail} for found in self.hidden],
        }


@frozen
class ConnectorStatus:
    """Every field of one connector, and what kept sources from answering."""

    fields: tuple[FieldStatus, ...]
    complaints: tuple[PeftStudioError, ...]


def status_of(
    manifest: Manifest, owner: str | None, *, vault: Vault | None = None, stores: Sequence[Store] | None = None
) -> ConnectorStatus:
    """Ask every source for every credential of the connector, which belongs to the distribution `owner`."""
    sources = Sources(manifest, owner, vault=vault, stores=stores)
    fields = []
    for credential in manifest.credentials:
        found = [answer for answer, _ in sources.of(credential.key)]
        fields.append(
            FieldStatus(
                connector=manifest.name,
                field=credential.key,
                required=credential.required,
                secret=credential.secret,
                found=found[0] if found else None,
                hidden=tuple(found[1:]),
            )
        )
    return ConnectorStatus(tuple(fields), tuple(sources.complaints))

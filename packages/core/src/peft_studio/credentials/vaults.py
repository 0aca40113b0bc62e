"""Vault plugins: whoever implements the hook `peft_studio_credential`."""

from __future__ import annotations

from collections.abc import MutableSequence
from typing import TYPE_CHECKING

from attrs import evolve

if TYPE_CHECKING:
    from peft_studio.hooks import Outcome
    from peft_studio.registry import ConnectorRegistry


def ask_vaults(
    registry: ConnectorRegistry, connector: str, field: str, failures: MutableSequence[Outcome]
) -> tuple[str, str] | None:
    """The first plugin that has the field, and what it lends; those that fail before it are added to `failures`."""
    from peft_studio.redaction.errors import redacted_error

    for outcome in registry.ask("peft_studio_credential", connector=connector, field=field):
        if outcome.error is not None:
            failures.append(evolve(outcome, error=redacted_error(outcome.error)))
        elif outcome.value is not None:
            return outcome.plugin, str(outcome.value)
    return None

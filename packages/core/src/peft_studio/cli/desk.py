"""Where the jobs of one command are kept, and how it reaches platforms."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from peft_studio.ledger import Ledger
from peft_studio.manager import ConnectorManager
from peft_studio.registry import ConnectorRegistry


@frozen
class Desk:
    """A ledger, and what managers need besides."""

    ledger: Ledger
    #: None finds the installed connectors.
    registry: ConnectorRegistry | None = None
    #: By connector name; None leaves them to the environment and to vaults.
    credentials: Mapping[str, Mapping[str, str]] | None = None
    #: True when the platform and its jobs end with this command.
    is_throwaway: bool = False

    def manager(self) -> ConnectorManager:
        """A manager; its connections belong to the event loop that opens them."""
        return ConnectorManager(self.registry, self.ledger, credentials=self.credentials)

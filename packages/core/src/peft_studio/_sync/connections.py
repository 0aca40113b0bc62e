"""Calls of the facade, made by packages/core/make_sync.py from peft_studio._calls.connections; do not edit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peft_studio._loop_thread import LoopThread
    from peft_studio.connector import PlatformConnector
    from peft_studio.manager import ConnectorManager
    from peft_studio.models import Observed


class SyncConnections:
    """Opens, keeps and closes sessions; every call to a platform begins here."""

    _manager: ConnectorManager
    _loop: LoopThread

    def connect(self, name: str, credentials: Mapping[str, str] | None = None) -> bool:
        """Connect, once however often it is asked for; other credentials replace the connection.

        Fields that `credentials` leaves out come from the credentials that the manager was made with, the environment,
        vault plugins, the encrypted file, the keyring, and the platform's own login file, in this order. Raises
        `ConnectorNotFound`, `BrokenConnector`, `InvalidCredentials` and `ConnectionFailed`; after each of them there
        is no connection.
        """
        return self._loop.run(self._manager.connect(name, credentials))

    def disconnect(self, name: str) -> None:
        """Let the connection go; jobs on the platform go on. Does nothing when there is none."""
        self._loop.run(self._manager.disconnect(name))

    def is_connected(self, name: str) -> bool:
        """True between `connect` and `disconnect`; `verify_connection` asks the platform."""
        return self._manager.is_connected(name)

    def get_connector(self, name: str) -> PlatformConnector:
        """The connected instance itself. Raises `ConnectionFailed` when there is none."""
        return self._manager.get_connector(name)

    def rents_machines(self, name: str) -> bool:
        """True when what was rented for a job of this connector stays, and costs, until `end_rental`."""
        return self._manager.rents_machines(name)

    def connectors_with_credentials(self) -> list[str]:
        """Connectors whose required credentials are all to be found, by name; there are some that require none."""
        return self._manager.connectors_with_credentials()

    def verify_connection(self, name: str) -> bool:
        """True while the platform answers and knows us."""
        return self._loop.run(self._manager.verify_connection(name))

    def observed(self, name: str) -> Observed | None:
        """What the platform's answers have said of themselves; None when the connector does not listen."""
        return self._manager.observed(name)

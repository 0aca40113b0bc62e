"""Calls of the facade, made by packages/core/make_sync.py from peft_studio._calls.rentals; do not edit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peft_studio._loop_thread import LoopThread
    from peft_studio.manager import ConnectorManager
    from peft_studio.models import Rental


class SyncRentalCalls:
    """What costs now, and how it ends."""

    _manager: ConnectorManager
    _loop: LoopThread

    def list_rentals(self, name: str) -> list[Rental]:
        """Everything on the account that is alive.

        Raises `ConnectionFailed` when the platform cannot be asked, and `IncompleteList` when a part of it cannot.
        """
        return self._loop.run(self._manager.list_rentals(name))

    def end_rental(self, name: str, rental_id: str) -> bool:
        """End it for good; True when the platform's own list says that it is gone."""
        return self._loop.run(self._manager.end_rental(name, rental_id))

"""The calls about what lives on an account, whoever made it."""

from __future__ import annotations

from peft_studio._calls.connections import Connections
from peft_studio.models import Rental


class RentalCalls(Connections):
    """What costs now, and how it ends."""

    async def list_rentals(self, name: str) -> list[Rental]:
        """Everything on the account that is alive.

        Raises `ConnectionFailed` when the platform cannot be asked, and `IncompleteList` when a part of it cannot.
        """
        return await self._session(name).ask_list("list_rentals", Rental)

    async def end_rental(self, name: str, rental_id: str) -> bool:
        """End it for good; True when the platform's own list says that it is gone."""
        return bool(await self._session(name).ask("end_rental", bool, rental_id=rental_id))

"""What a platform rents out, in words that are the same for all of them."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from hashlib import sha256
from typing import Any

from attrs import field, frozen

from peft_studio.models import Rental


class MachineState(StrEnum):
    """Where a machine stands."""

    #: It is being made, or comes up.
    STARTING = "starting"
    #: The platform runs it; whether anything on it works only the worker can tell.
    RUNNING = "running"
    #: It does not run, and can be started again with what its mount holds.
    STOPPED = "stopped"
    #: The platform says that it is broken for good.
    BROKEN = "broken"


@frozen(kw_only=True)
class Machine:
    """One machine that is there, whatever it does."""

    id: str
    name: str
    #: What it was rented for: `config.tag` of a submission; None for what is nobody's of ours.
    tag: str | None
    state: MachineState
    #: The platform's word.
    status: str
    #: Price of one hour now, storage included where the platform tells it, in `currency`; None when it does not say.
    hourly_rate: Decimal | None = None
    #: ISO 4217.
    currency: str = "USD"
    created: datetime | None = None
    #: As in `list_resources`.
    resource_id: str | None = None
    #: Base address of the worker's port, when it can be known already.
    address: str | None = None
    #: The worker's token, where the platform shows what the machine was started with.
    token: str | None = field(default=None, repr=False)

    @property
    def rental(self) -> Rental:
        """As `list_rentals` tells it."""
        return Rental(
            id=self.id, name=self.name, tag=self.tag, kind="job", status=self.status, hourly_rate=self.hourly_rate,
            currency=self.currency, created=self.created, resource_id=self.resource_id,
        )  # fmt: skip


@frozen(kw_only=True)
class Offer:
    """A machine that could be rented now: a resource at a place."""

    resource_id: str
    #: For people: `RTX 4090, community cloud, any data centre, 0.34 USD/h`.
    words: str
    #: Price of one hour, US dollars; None when unknown.
    hourly_rate: Decimal | None = None
    #: What the connector needs to rent it.
    details: Mapping[str, Any]


@frozen(kw_only=True)
class Launch:
    """What a rented machine has to run: a fixed script that reads everything else from its environment."""

    #: Names the machine, so that it can be found again.
    tag: str
    #: For `sh -c`.
    script: str
    #: Environment variables; some are secret.
    variables: Mapping[str, str]
    #: Port that the worker listens on.
    port: int
    #: Folder that has to outlive a stop of the machine.
    mount: str


def worker_token(account_secret: str, tag: str) -> str:
    """The bearer token of one job: whoever has the account can tell it, and nobody has to keep it."""
    digest = hmac.digest(account_secret.encode(), f"peft-studio worker {tag}".encode(), sha256)
    return urlsafe_b64encode(digest).decode().rstrip("=")

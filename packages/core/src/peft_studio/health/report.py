"""What a probe found out about one connector."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from attrs import frozen

from peft_studio.errors import (
    BrokenConnector,
    ConnectionFailed,
    InvalidCredentials,
    MissingCredentials,
    PeftStudioError,
    PlatformError,
)
from peft_studio.models import RateLimit
from peft_studio.session import ConnectorFault


class Condition(StrEnum):
    """What is to be said of a connector in a word or two."""

    HEALTHY = "healthy"
    #: The platform could not be asked.
    UNREACHABLE = "unreachable"
    #: The connector did not come back in time.
    NO_ANSWER = "no answer"
    UNAUTHORIZED = "unauthorized"
    #: The platform answered, and the answer was no; too many requests above all.
    REFUSED = "refused"
    #: A credential that it cannot do without was found nowhere; nobody was asked.
    NOT_SET_UP = "not set up"
    #: The plugin cannot be used, or went wrong.
    BROKEN = "broken"
    #: Something on this machine kept us from asking, such as a keyring that is locked.
    NOT_ASKED = "not asked"


#: The first that fits.
_CONDITIONS: Final[tuple[tuple[type[PeftStudioError], Condition], ...]] = (
    (MissingCredentials, Condition.NOT_SET_UP),
    (InvalidCredentials, Condition.UNAUTHORIZED),
    (ConnectionFailed, Condition.UNREACHABLE),
    (ConnectorFault, Condition.BROKEN),
    (BrokenConnector, Condition.BROKEN),
    (PlatformError, Condition.REFUSED),
    (PeftStudioError, Condition.NOT_ASKED),
)

_REACHABLE: Final = {
    Condition.HEALTHY: True,
    Condition.UNAUTHORIZED: True,
    Condition.REFUSED: True,
    Condition.UNREACHABLE: False,
}
_AUTHENTICATED: Final = {Condition.HEALTHY: True, Condition.UNAUTHORIZED: False}


@frozen(kw_only=True)
class Health:
    """One connector at one moment. What is not known is None."""

    name: str
    condition: Condition
    #: When it was asked, UTC.
    at: datetime
    #: Since when the platform could not be asked, as far as any process of the user noticed.
    unreachable_since: datetime | None = None
    #: Seconds.
    latency: float | None = None
    rate_limit: RateLimit | None = None
    #: Seconds that the platform's clock is ahead.
    clock_skew: float | None = None
    #: The last error in one sentence, and when it was; it may be over.
    last_error: str | None = None
    last_error_at: datetime | None = None
    remedy: str | None = None

    @property
    def is_healthy(self) -> bool:
        """True when the platform answered and knows us."""
        return self.condition is Condition.HEALTHY

    @property
    def is_reachable(self) -> bool | None:
        """Whether the platform answered."""
        return _REACHABLE.get(self.condition)

    @property
    def is_authenticated(self) -> bool | None:
        """Whether it knows us."""
        return _AUTHENTICATED.get(self.condition)

    def to_dict(self) -> dict[str, Any]:
        """The shape that `health --json` promises."""
        limit = self.rate_limit
        return {
            "name": self.name,
            "condition": self.condition,
            "at": self.at,
            "reachable": self.is_reachable,
            "unreachable_since": self.unreachable_since,
            "authenticated": self.is_authenticated,
            "latency_ms": None if self.latency is None else round(self.latency * 1000, 1),
            "rate_limit": limit and {"remaining": limit.remaining, "limit": limit.limit, "resets": limit.resets},
            "clock_skew": self.clock_skew,
            "last_error": self.last_error,
            "last_error_at": self.last_error_at,
            "remedy": self.remedy,
        }


def condition_of(error: PeftStudioError) -> Condition:
    """What an error says of the connector."""
    return next(condition for kind, condition in _CONDITIONS if isinstance(error, kind))

"""An operation as data: what is to be done where, how far it has come, and what an attempt can end with."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from attrs import field, frozen


class State(StrEnum):
    """How far an operation has come."""

    WAITING = "waiting"
    RUNNING = "running"
    #: It waits for the user's yes.
    ASKING = "needs confirmation"
    DONE = "done"
    #: It will not be tried again unless the user says so; the reason is kept.
    DEAD = "dead"

    @property
    def is_over(self) -> bool:
        """True when nothing happens to it any more by itself."""
        return self in (State.DONE, State.DEAD)


@frozen(kw_only=True)
class NewOperation:
    """Something to be queued."""

    kind: str
    connector: str
    #: Of a connector's operations with the same key there is only one.
    key: str
    #: Whatever JSON can hold, and no secret.
    payload: Mapping[str, Any] = field(factory=dict)
    #: Operations of one stream are done in order.
    stream: str = ""
    #: Goes before everything else of its connector.
    is_urgent: bool = False
    #: Its key stands for it even when it is over; otherwise the same key then begins anew.
    is_once: bool = False
    #: Seconds after which it is given up; None never.
    lifetime: float | None = None


@frozen(kw_only=True)
class Operation:
    """An operation in the queue."""

    #: Its id; rises in the order of arrival.
    number: int
    kind: str
    connector: str
    key: str
    stream: str
    payload: Mapping[str, Any]
    state: State
    is_urgent: bool
    created: datetime
    not_before: datetime
    expires: datetime | None
    #: How often it was begun; tells the claims of an operation apart.
    attempts: int
    #: How many of those failed for a reason that may be its own.
    failures: int
    #: An earlier attempt may have reached the platform.
    is_doubtful: bool
    #: Why the last attempt failed, or why it is dead.
    reason: str | None
    #: What the user is asked.
    question: str | None
    #: What the platform answered.
    result: Any
    finished: datetime | None


@frozen
class Done:
    """It is done; `result` is kept with it."""

    result: Any = None


@frozen
class Again:
    """It is to be tried again in `delay` seconds."""

    reason: str
    delay: float = 0.0
    #: The attempt may have reached the platform all the same.
    is_doubtful: bool = True
    #: The fault may be the operation's own, so that it counts.
    is_fault: bool = False


@frozen
class Ask:
    """It waits for the user's yes, which puts `accepts` into its payload."""

    question: str
    accepts: Mapping[str, Any] = field(factory=dict)


@frozen
class Dead:
    """It cannot be done."""

    reason: str


Outcome = Done | Again | Ask | Dead

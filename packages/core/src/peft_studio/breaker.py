"""Circuit breakers: a platform that does not answer is left alone for a while, so that it slows nothing else.

A breaker only ever counts that nobody answered; a refusal is an answer. Its state lies in a small file for each
connector, which all processes of the user share. Such a file is worth nothing by itself: when two processes write at
once one of the two failures is not counted, and a file that cannot be read is a closed breaker.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote

from attrs import asdict, define, evolve, frozen

from peft_studio import paths
from peft_studio._state_file import StateFile
from peft_studio.errors import (
    ArtifactNotFound,
    ConnectionFailed,
    InvalidCredentials,
    JobNotFound,
    MissingCredentials,
    PeftStudioError,
    PlatformError,
)

__all__ = ["FAILURES", "Breaker", "Breakers", "Circuit"]

#: So many failures in a row open a breaker.
FAILURES: Final = 3
#: Seconds until an open breaker lets one call try: doubled by each trial that fails, up to the longest.
COOL_DOWN: Final = 30.0
LONGEST_COOL_DOWN: Final = 480.0

#: What shows that the platform was there, whatever it thought of the question.
_ANSWERS = (PlatformError, InvalidCredentials, JobNotFound, ArtifactNotFound)
#: Seconds since 1970; what is later stands in no file of ours.
_END_OF_TIME = 2.0**35


class Circuit(StrEnum):
    """Closed: calls go out. Open: none does. Half-open: one may try."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@frozen
class Breaker:
    """What is known of one platform's silence. Times are seconds since 1970."""

    #: In a row.
    failures: int = 0
    #: When the first of them was.
    since: float | None = None
    #: Until when nobody is to call.
    until: float | None = None

    def circuit(self, now: float) -> Circuit:
        """The state at a moment. A date further ahead than any cool-down comes from a clock that was set back."""
        if self.until is None:
            return Circuit.CLOSED
        return Circuit.OPEN if now < self.until <= now + LONGEST_COOL_DOWN else Circuit.HALF_OPEN

    def after_failure(self, now: float, jitter: float) -> Breaker:
        """One more call without an answer; `jitter` (0.5 to 1) keeps processes from trying again in step."""
        failures = self.failures + 1
        since = now if self.since is None else self.since
        if failures < FAILURES:
            return Breaker(failures, since)
        pause = min(COOL_DOWN * 2.0 ** min(failures - FAILURES, 10), LONGEST_COOL_DOWN)
        return Breaker(failures, since, now + pause * jitter)

    def on_trial(self, now: float) -> Breaker:
        """Somebody tries; until it is known what came of it, the others wait."""
        return evolve(self, until=now + COOL_DOWN)


@define
class Breakers:
    """The breakers of all connectors, shared with every other process of the user."""

    now: Callable[[], float] = time.time
    jitter: Callable[[], float] = lambda: random.uniform(0.5, 1.0)  # noqa: S311 -- nobody gains from guessing it

    def circuit(self, name: str) -> Circuit:
        """The state of one breaker; changes nothing."""
        return self._read(name).circuit(self.now())

    def since(self, name: str) -> datetime | None:
        """Since when nobody has answered; None while somebody does."""
        since = self._read(name).since
        return None if since is None else datetime.fromtimestamp(since, UTC)

    def may_ask(self, name: str) -> bool:
        """Whether to call now. Of a half-open breaker one caller hears yes, and tells what came of it."""
        breaker, now = self._read(name), self.now()
        circuit = breaker.circuit(now)
        if circuit is Circuit.HALF_OPEN:
            self._write(name, breaker.on_trial(now))
        return circuit is not Circuit.OPEN

    def answered(self, name: str) -> None:
        """The platform said something, be it no."""
        if self._read(name) != Breaker():
            self._write(name, Breaker())

    def failed(self, name: str) -> None:
        """The platform could not be asked."""
        self._write(name, self._read(name).after_failure(self.now(), self.jitter()))

    def note(self, name: str, error: PeftStudioError | None) -> None:
        """What became of a call: None is an answer, as is a refusal; some errors say nothing of the platform."""
        if isinstance(error, ConnectionFailed):
            self.failed(name)
        elif error is None or (isinstance(error, _ANSWERS) and not isinstance(error, MissingCredentials)):
            self.answered(name)

    def _read(self, name: str) -> Breaker:
        return _breaker(_file(name).read())

    def _write(self, name: str, breaker: Breaker) -> None:
        _file(name).write(asdict(breaker))


def _file(name: str) -> StateFile:
    path = paths.state_dir() / "breakers" / f"{quote(name, safe='')}.json"
    return StateFile(path.name, loss=f"it is forgotten whether {name} answers", path=path)


def _breaker(content: dict[str, Any]) -> Breaker:
    """What the file says; anything else is a closed one."""
    failures, since, until = (content.get(key) for key in ("failures", "since", "until"))
    if isinstance(failures, int) and _is_time(since) and _is_time(until):
        return Breaker(failures, since, until)
    return Breaker()


def _is_time(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and 0 <= value < _END_OF_TIME)

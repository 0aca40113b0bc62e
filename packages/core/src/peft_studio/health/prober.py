"""Probes: connect to a platform, ask whether it knows us, let go again. Nothing is created and nothing costs."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from attrs import define, field, frozen

from peft_studio._calls.connections import Connections
from peft_studio.breaker import Breakers
from peft_studio.connector import PlatformConnector
from peft_studio.errors import ConnectionFailed, InvalidConfig, PeftStudioError, PlatformError
from peft_studio.health.isolation import Isolated, TookTooLong
from peft_studio.health.report import Condition, Health, condition_of
from peft_studio.models import Observed
from peft_studio.records import ConnectorRecord, State
from peft_studio.registry import ConnectorRegistry

#: Seconds for everything that a connector does for one probe, its import included.
TIME_LIMIT: Final = 10.0
#: Whoever waits for less time than this, seconds, cannot tell whether a platform is there: no breaker counts it.
PATIENCE: Final = 5.0
#: How long connectors may take to let go when probing ends, seconds.
_FAREWELL = 1.0


async def check(
    names: Iterable[str] | None = None,
    *,
    registry: ConnectorRegistry | None = None,
    credentials: Mapping[str, Mapping[str, Any]] | None = None,
    time_limit: float = TIME_LIMIT,
) -> list[Health]:
    """The health of these connectors, or of all installed ones, asked at once. Raises `ConnectorNotFound`."""
    prober = Prober(registry or ConnectorRegistry(), credentials or {}, time_limit)
    chosen = prober.choose(names)
    try:
        return list(await asyncio.gather(*(prober.ask(name) for name in chosen)))
    finally:
        await prober.farewell()


@define
class Prober:
    """Asks connectors, each one question at a time."""

    registry: ConnectorRegistry
    #: Texts or secrets for `connect`, by connector name; what is missing comes from where the manager looks for it.
    credentials: Mapping[str, Mapping[str, Any]]
    time_limit: float = field()
    patience: float = PATIENCE
    breakers: Breakers = field(factory=Breakers)
    _running: dict[str, Isolated[_Answer]] = field(factory=dict, init=False)

    @time_limit.validator
    def _check_time_limit(self, attribute: Any, value: float) -> None:
        if not 0 < value < math.inf:
            raise InvalidConfig(f"the time limit of a probe must be a number of seconds above 0, not {value!r}")

    def choose(self, names: Iterable[str] | None) -> list[str]:
        """These, or all that are installed and that policy lets in. Raises `ConnectorNotFound`."""
        if names is None:
            return [record.name for record in self.registry.list() if _can_be_asked(record)]
        return [self.registry.describe(name).name for name in dict.fromkeys(names)]

    async def ask(self, name: str) -> Health:
        """Probe one connector. It never takes longer than the time limit."""
        at = datetime.now(UTC)
        earlier = self._running.get(name)
        if earlier is not None and not earlier.is_over:
            return _failed(name, at, Condition.NO_ANSWER, "it is still busy with an earlier question")
        probe = _Probe(name, self.registry, self.credentials)
        self._running[name] = running = Isolated(probe.run, f"probe-{name}")
        try:
            answer = await running.answer(self.time_limit)
        except TookTooLong:
            return self._without_answer(probe, at)
        except PeftStudioError as error:
            return self._with_error(name, at, error)
        self.breakers.answered(name)
        return _health(name, at, Condition.HEALTHY, answer.observed, latency=answer.latency)

    async def farewell(self) -> None:
        """Give connectors that are still busy a moment to let go."""
        for running in self._running.values():
            running.cancel()
        await asyncio.gather(*(running.over(_FAREWELL) for running in self._running.values()))

    @property
    def is_stuck(self) -> bool:
        """True while a connector does not come back."""
        return not all(running.is_over for running in self._running.values())

    def _without_answer(self, probe: _Probe, at: datetime) -> Health:
        sentence = f"no answer within {self.time_limit:g} s; it was still at {probe.stage}"
        if self.time_limit >= self.patience and probe.asks_the_platform:
            self.breakers.failed(probe.name)
        since = self.breakers.since(probe.name)
        return _failed(probe.name, at, Condition.NO_ANSWER, sentence, unreachable_since=since)

    def _with_error(self, name: str, at: datetime, error: PeftStudioError) -> Health:
        self.breakers.note(name, error)
        since = self.breakers.since(name) if isinstance(error, ConnectionFailed) else None
        details = {"unreachable_since": since, "remedy": error.remedy}
        return _failed(name, at, condition_of(error), str(error), error.observed, **details)


@frozen
class _Answer:
    """What a healthy connector gave."""

    #: Seconds.
    latency: float
    observed: Observed | None


class _Probe:
    """One question, to be asked in a loop of its own; `stage` tells where it is."""

    def __init__(self, name: str, registry: ConnectorRegistry, credentials: Mapping[str, Mapping[str, Any]]) -> None:
        self.name = name
        self.stage = "its import"
        self._registry = registry
        self._connections = Connections(registry, {name: credentials[name]} if name in credentials else None)

    @property
    def asks_the_platform(self) -> bool:
        """True where the time that passes is the platform's."""
        return self.stage in ("connect", "verify_connection")

    async def run(self) -> _Answer:
        """Connect, verify, look at what was observed, and let go."""
        await asyncio.to_thread(self._registry.activate, self.name)
        try:
            latency = await self._connect()
            if self._verifies:
                latency = await self._verify()
            return _Answer(latency, self._connections.observed(self.name))
        finally:
            self.stage = "disconnect"
            await self._connections.disconnect_all()

    @property
    def _verifies(self) -> bool:
        """False for a connector that leaves everything to `connect`."""
        kind = type(self._connections.get_connector(self.name))
        return kind.verify_connection is not PlatformConnector.verify_connection

    async def _connect(self) -> float:
        self.stage = "connect"
        started = time.perf_counter()
        await self._connections.connect(self.name)
        return time.perf_counter() - started

    async def _verify(self) -> float:
        """Seconds that it took. A no without a reason is asked for one: connecting anew raises it."""
        self.stage = "verify_connection"
        started = time.perf_counter()
        if await self._connections.verify_connection(self.name):
            return time.perf_counter() - started
        await self._connections.disconnect(self.name)
        await self._connect()
        self.stage = "verify_connection"
        started = time.perf_counter()
        if await self._connections.verify_connection(self.name):
            return time.perf_counter() - started
        label = self._registry.label(self.name)
        raise PlatformError("verify_connection says no, but connect raises nothing", connector=label)


def _can_be_asked(record: ConnectorRecord) -> bool:
    """Not what policy keeps out, nor a plugin that is known to have hooks alone."""
    has_hooks_alone = record.manifest is not None and not record.features
    return record.state is not State.DISABLED and not has_hooks_alone


def _health(name: str, at: datetime, condition: Condition, seen: Observed | None, **details: Any) -> Health:
    if seen is not None:
        details |= {"rate_limit": seen.rate_limit, "clock_skew": seen.clock_skew}
    return Health(name=name, at=at, condition=condition, **details)


def _failed(
    name: str, at: datetime, condition: Condition, sentence: str, seen: Observed | None = None, **details: Any
) -> Health:
    return _health(name, at, condition, seen, last_error=sentence, last_error_at=at, **details)

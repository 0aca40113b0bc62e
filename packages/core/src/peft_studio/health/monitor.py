"""`HealthMonitor`: keeps asking connectors how they are, for programs that want to know when it changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any, Final, Self

from attrs import evolve

from peft_studio.errors import ConnectorNotFound, InvalidConfig
from peft_studio.health.prober import TIME_LIMIT, Prober
from peft_studio.health.report import Health
from peft_studio.registry import ConnectorRegistry

INTERVAL: Final = 60.0
CONCURRENCY: Final = 32


class HealthMonitor:
    """Asks connectors again and again, from the beginning to the end of an `async with`.

    `names` None are all installed ones. `interval` are the seconds between two questions to one connector, for all or
    by name; `time_limit` those that it gets. No more than `concurrency` are asked at once; one that hangs takes up a
    place for no longer than `time_limit`, and is asked again when it has come back. Raises `ConnectorNotFound`.
    """

    def __init__(
        self,
        names: Iterable[str] | None = None,
        *,
        registry: ConnectorRegistry | None = None,
        credentials: Mapping[str, Mapping[str, Any]] | None = None,
        interval: float | Mapping[str, float] = INTERVAL,
        time_limit: float = TIME_LIMIT,
        concurrency: int = CONCURRENCY,
    ) -> None:
        self._prober = Prober(registry or ConnectorRegistry(), credentials or {}, time_limit)
        self.names = tuple(self._prober.choose(names))
        self._intervals = {name: _interval(interval, name) for name in self.names}
        if concurrency < 1:
            raise InvalidConfig(f"concurrency must be at least 1, not {concurrency}")
        self._concurrency = concurrency
        self._known: dict[str, Health] = {}
        self._readers: set[asyncio.Queue[Health | None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._is_stopped = False

    async def __aenter__(self) -> Self:
        places = asyncio.Semaphore(self._concurrency)
        self._tasks = [asyncio.create_task(self._keep_asking(name, places)) for name in self.names]
        return self

    async def __aexit__(self, *details: object) -> None:
        self._is_stopped = True
        for task in self._tasks:
            task.cancel()
        endings = await asyncio.gather(*self._tasks, return_exceptions=True)
        for reader in self._readers:
            reader.put_nowait(None)
        await self._prober.farewell()
        for ending in endings:
            if ending is not None and not isinstance(ending, asyncio.CancelledError):
                raise ending

    def status(self, name: str) -> Health | None:
        """What is known of one connector; None before its first answer. Raises `ConnectorNotFound`."""
        if name not in self._intervals:
            raise ConnectorNotFound(f"{name} is not watched", why=f"those that are: {', '.join(self.names) or 'none'}")
        return self._known.get(name)

    def statuses(self) -> list[Health]:
        """What is known of all, in the order of `names`; without those that have not been asked yet."""
        return [self._known[name] for name in self.names if name in self._known]

    async def changes(self) -> AsyncGenerator[Health]:
        """First what is known, then each connector whose condition has become another, until the monitor stops."""
        reader: asyncio.Queue[Health | None] = asyncio.Queue()
        for health in [*self.statuses(), *([None] if self._is_stopped else [])]:
            reader.put_nowait(health)
        self._readers.add(reader)
        try:
            while (change := await reader.get()) is not None:
                yield change
        finally:
            self._readers.discard(reader)

    @property
    def is_stuck(self) -> bool:
        """True while a connector does not come back. After the end that keeps nothing but a daemon thread."""
        return self._prober.is_stuck

    async def _keep_asking(self, name: str, places: asyncio.Semaphore) -> None:
        while True:
            async with places:
                health = await self._prober.ask(name)
            self._take(health)
            await asyncio.sleep(self._intervals[name])

    def _take(self, health: Health) -> None:
        before = self._known.get(health.name)
        if before is not None and health.last_error is None:
            health = evolve(health, last_error=before.last_error, last_error_at=before.last_error_at)
        self._known[health.name] = health
        if before is None or before.condition is not health.condition:
            for reader in self._readers:
                reader.put_nowait(health)


def _interval(given: float | Mapping[str, float], name: str) -> float:
    seconds = given.get(name, INTERVAL) if isinstance(given, Mapping) else given
    if not 0 < seconds < float("inf"):
        raise InvalidConfig(f"the interval for {name} must be a number of seconds above 0, not {seconds!r}")
    return seconds

"""`ConnectorManager`: connects to platforms and drives jobs, models and runs on them, whatever the connector.

A manager is an object; two of them share nothing but what they are given. Everything a connector does goes through a
session, so that its mistakes arrive as errors that name it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, Self

from peft_studio._calls.models import InferenceCalls, RegistryCalls, TrackingCalls
from peft_studio._calls.rentals import RentalCalls
from peft_studio._calls.submission import Submission, SubmissionLedger
from peft_studio._calls.training import TrainingCalls
from peft_studio.connector import PlatformConnector
from peft_studio.errors import InvalidConfig, PeftStudioError
from peft_studio.policy import Policy
from peft_studio.records import ConnectorRecord
from peft_studio.registry import ConnectorRegistry

if TYPE_CHECKING:
    from peft_studio.health import Health
    from peft_studio.jobs import Jobs

__all__ = ["ConnectorManager", "SubmissionLedger"]


class ConnectorManager(Submission, TrainingCalls, RentalCalls, RegistryCalls, TrackingCalls, InferenceCalls):
    """Finds connectors, holds the connections, and calls the platforms.

    `registry` defaults to the installed connectors under the user's policy; with `discover=False` there are only those
    in `connectors`, classes that need no entry point. `ledger` None opens the user's own ledger at the first
    submission; False does without. `plugins` are modules or objects with hooks of the embedding program.
    `credentials` are given to `connect`, by connector name. Use it as an async context manager to have everything
    disconnected at the end. It may be made anywhere; its connections belong to the event loop that opened them.
    """

    def __init__(
        self,
        registry: ConnectorRegistry | None = None,
        ledger: SubmissionLedger | Literal[False] | None = None,
        plugins: Iterable[object] = (),
        *,
        connectors: Iterable[type[PlatformConnector]] = (),
        discover: bool = True,
        credentials: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        super().__init__(_registry(registry, discover=discover), ledger, credentials)
        for connector in connectors:
            self.register_connector(connector)
        for plugin in plugins:
            self.registry.add_plugin(plugin)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *details: object) -> None:
        await self.disconnect_all()

    def discover_connectors(self) -> list[ConnectorRecord]:
        """Look at the disk again and list what is there. Imports no connector."""
        self.registry.refresh()
        return self.registry.list()

    def list_connectors(self) -> list[ConnectorRecord]:
        """Every connector, by name. Imports none."""
        return self.registry.list()

    def get_connectors_by_feature(self, feature: str) -> list[ConnectorRecord]:
        """Connectors that declare `feature`: training, inference, registry or tracking."""
        return self.registry.by_feature(feature)

    def register_connector(self, connector: type[PlatformConnector]) -> None:
        """Add a class without an entry point. Raises `BrokenConnector` with every fault."""
        self.registry.register(connector)

    async def check_health(self, names: Iterable[str] | None = None, *, time_limit: float = 10.0) -> list[Health]:
        """Whether these platforms, or all, answer and know us: asked at once, `time_limit` seconds each at most.

        Each is asked over a connection of its own, in a thread of its own. Raises `ConnectorNotFound`; whatever else is
        wrong with a connector is in its `Health`.
        """
        from peft_studio.health import check

        return await check(names, registry=self.registry, credentials=self._credentials, time_limit=time_limit)

    @property
    def jobs(self) -> Jobs:
        """The jobs of this manager's ledger: submitted once, followed from anywhere, under one id."""
        from peft_studio.jobs import Jobs
        from peft_studio.ledger import Ledger

        ledger = self._ledger()
        if not isinstance(ledger, Ledger):
            raise PeftStudioError("this manager has no ledger that keeps jobs", remedy="give it ledger=Ledger(path)")
        return Jobs(self, ledger)


def _registry(given: ConnectorRegistry | None, *, discover: bool) -> ConnectorRegistry:
    """The given one, the installed connectors, or one that looks nowhere and asks no settings."""
    if given is None:
        return ConnectorRegistry() if discover else ConnectorRegistry([], Policy())
    if not discover:
        raise InvalidConfig("discover=False makes a registry of its own", remedy="leave out discover or registry")
    return given

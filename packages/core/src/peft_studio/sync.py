"""`SyncConnectorManager`: the manager for scripts and notebooks, where every call waits for its answer.

Made by packages/core/make_sync.py from `ConnectorManager` and `Jobs`, as is `_sync`; do not edit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, Self

from peft_studio._sync.connections import SyncConnections
from peft_studio._sync.jobs import SyncJobs
from peft_studio._sync.models import SyncInferenceCalls, SyncRegistryCalls, SyncTrackingCalls
from peft_studio._sync.rentals import SyncRentalCalls
from peft_studio._sync.submission import SyncSubmission
from peft_studio._sync.training import SyncTrainingCalls

if TYPE_CHECKING:
    from peft_studio._calls.submission import SubmissionLedger
    from peft_studio.connector import PlatformConnector
    from peft_studio.health import Health
    from peft_studio.hooks import Outcome
    from peft_studio.records import ConnectorRecord
    from peft_studio.registry import ConnectorRegistry

__all__ = ["SyncConnectorManager", "SyncJobs"]


class SyncConnectorManager(
    SyncConnections,
    SyncRegistryCalls,
    SyncTrackingCalls,
    SyncInferenceCalls,
    SyncRentalCalls,
    SyncTrainingCalls,
    SyncSubmission,
):
    """Finds connectors, holds the connections, and calls the platforms; nothing of it is awaited.

    It takes what `ConnectorManager` takes, has its methods, and runs them in an event loop of its own, in a thread: it
    works inside a running loop (a notebook), and several threads may share it. Ctrl-C cancels the call that is waited
    for. Use it as a context manager, or `close` it.
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
        from peft_studio._loop_thread import LoopThread
        from peft_studio.manager import ConnectorManager

        self._manager = ConnectorManager(
            registry, ledger, plugins, connectors=connectors, discover=discover, credentials=credentials
        )
        self._loop = LoopThread()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect everything and end the thread; calls that others wait for are cancelled. Again does nothing."""
        self._loop.close(self._manager.disconnect_all)

    @property
    def registry(self) -> ConnectorRegistry:
        """The connectors that this manager knows."""
        return self._manager.registry

    @property
    def hook_failures(self) -> deque[Outcome]:
        """The latest failures of plugins that only observe or lend; they stop nothing."""
        return self._manager.hook_failures

    @property
    def jobs(self) -> SyncJobs:
        """The jobs of this manager's ledger: submitted once, followed from anywhere, under one id."""
        return SyncJobs(self._manager.jobs, self._loop)

    def discover_connectors(self) -> list[ConnectorRecord]:
        """Look at the disk again and list what is there. Imports no connector."""
        return self._manager.discover_connectors()

    def list_connectors(self) -> list[ConnectorRecord]:
        """Every connector, by name. Imports none."""
        return self._manager.list_connectors()

    def get_connectors_by_feature(self, feature: str) -> list[ConnectorRecord]:
        """Connectors that declare `feature`: training, inference, registry or tracking."""
        return self._manager.get_connectors_by_feature(feature)

    def register_connector(self, connector: type[PlatformConnector]) -> None:
        """Add a class without an entry point. Raises `BrokenConnector` with every fault."""
        self._manager.register_connector(connector)

    def check_health(self, names: Iterable[str] | None = None, *, time_limit: float = 10.0) -> list[Health]:
        """Whether these platforms, or all, answer and know us: asked at once, `time_limit` seconds each at most.

        Each is asked over a connection of its own, in a thread of its own. Raises `ConnectorNotFound`; whatever else is
        wrong with a connector is in its `Health`.
        """
        return self._loop.run(self._manager.check_health(names, time_limit=time_limit))

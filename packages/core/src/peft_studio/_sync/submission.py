"""Calls of the facade, made by packages/core/make_sync.py from peft_studio._calls.submission; do not edit."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from peft_studio._loop_thread import LoopThread
    from peft_studio.manager import ConnectorManager
    from peft_studio.training_config import TrainingConfig


class SyncSubmission:
    """Checks and starts jobs, so that none is ever forgotten or paid for twice."""

    _manager: ConnectorManager
    _loop: LoopThread

    def validate_config(self, name: str, config: TrainingConfig) -> None:
        """What `submit_job` checks before it asks the platform: policy plugins, then the connector.

        Raises `InvalidConfig` with every problem.
        """
        self._loop.run(self._manager.validate_config(name, config))

    def submit_job(self, name: str, config: TrainingConfig, *, tag: str | None = None, feed: bool = True) -> str:
        """Start a job and return the platform's id of it.

        The intent is in the ledger before the platform is called, under the tag that the connector gives to whatever it
        creates. It is settled by an id or by a refusal; a lost answer leaves it open, because the job may exist.
        `tag` is that of a submission that waited in the ledger's queue; any other one gets a new tag. Programs that
        submit to one account do so one after the other. A job on a machine that is rented for it is fed as well, which
        takes until the machine is up; without `feed` that is left to a later `feed_job`.
        """
        return self._loop.run(self._manager.submit_job(name, config, tag=tag, feed=feed))

    def feed_job(
        self, name: str, job_id: str, config: TrainingConfig, tell: Callable[[str], None] | None = None
    ) -> None:
        """Bring to a job what it needs to begin, where its connector has to; again is fine. `tell` hears how it goes.

        Raises `ConnectionFailed` when it may be tried again, `UnsupportedCapability` where there is nothing to bring.
        """
        self._loop.run(self._manager.feed_job(name, job_id, config, tell))

    def is_buying(self, name: str) -> bool:
        """True while a program submits to the account that `name` is connected to; False where nothing is bought."""
        return self._manager.is_buying(name)

    def disconnect_all(self) -> None:
        """Let every connection go, also when one of them fails to; the first failure is raised at the end.

        A ledger that the manager opened itself is closed too, and opened again when it is needed.
        """
        self._loop.run(self._manager.disconnect_all())

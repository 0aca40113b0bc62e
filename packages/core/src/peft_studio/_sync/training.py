"""Calls of the facade, made by packages/core/make_sync.py from peft_studio._calls.training; do not edit."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peft_studio._loop_thread import LoopThread
    from peft_studio.manager import ConnectorManager
    from peft_studio.models import JobEvent, JobStatus, PricingInfo, Resource


class SyncTrainingCalls:
    """Everything about a job that was submitted, and about what jobs can run on."""

    _manager: ConnectorManager
    _loop: LoopThread

    def get_job_status(self, name: str, job_id: str) -> JobStatus:
        """Ask the platform. Raises `JobNotFound`, and `ConnectionFailed` when it cannot be asked."""
        return self._loop.run(self._manager.get_job_status(name, job_id))

    def cancel_job(self, name: str, job_id: str) -> bool:
        """Stop a job for good; True when it is stopped or was over already."""
        return self._loop.run(self._manager.cancel_job(name, job_id))

    def pause_job(self, name: str, job_id: str) -> bool:
        """Stop a job at a checkpoint."""
        return self._loop.run(self._manager.pause_job(name, job_id))

    def resume_job(self, name: str, job_id: str) -> bool:
        """Go on from the last checkpoint."""
        return self._loop.run(self._manager.resume_job(name, job_id))

    def find_job(self, name: str, tag: str) -> str | None:
        """The id of the job that was submitted with `tag`, or None when the platform knows none."""
        return self._loop.run(self._manager.find_job(name, tag))

    def get_metrics(self, name: str, job_id: str) -> list[Mapping[str, Any]]:
        """Metrics of a job or run, oldest first."""
        return self._loop.run(self._manager.get_metrics(name, job_id))

    def stream_logs(self, name: str, job_id: str) -> Generator[str]:
        """Log lines from the first one; ends when the job ends."""
        return self._loop.iterate(self._manager.stream_logs(name, job_id))

    def stream_events(self, name: str, job_id: str, after: int = 0) -> Generator[JobEvent]:
        """The event log after sequence number `after`; observers get each event too.

        For a connector that has only log lines these are the events, with a state event after the last line.
        """
        return self._loop.iterate(self._manager.stream_events(name, job_id, after))

    def get_job_cost(self, name: str, job_id: str) -> Decimal | None:
        """What a job has cost so far with everything that was rented for it, US dollars; None when nobody knows."""
        return self._loop.run(self._manager.get_job_cost(name, job_id))

    def fetch_artifact(self, name: str, job_id: str) -> bytes:
        """The adapter as bytes, for small adapters. Raises `ArtifactNotFound`."""
        return self._loop.run(self._manager.fetch_artifact(name, job_id))

    def download_artifact(self, name: str, job_id: str, destination: Path | str) -> Path:
        """Bring the adapter folder to `destination`, which must be new or empty. Raises `ArtifactNotFound`."""
        return self._loop.run(self._manager.download_artifact(name, job_id, destination))

    def upload_artifact(self, name: str, path: Path | str, metadata: Mapping[str, Any] | None = None) -> str:
        """Upload a file or an adapter folder; returns its id or address there."""
        return self._loop.run(self._manager.upload_artifact(name, path, metadata))

    def list_resources(self, name: str) -> list[Resource]:
        """What can be had now."""
        return self._loop.run(self._manager.list_resources(name))

    def get_pricing(self, name: str, resource_id: str) -> PricingInfo:
        """What a resource costs now."""
        return self._loop.run(self._manager.get_pricing(name, resource_id))

"""Calls of the facade, made by packages/core/make_sync.py from peft_studio._calls.models; do not edit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peft_studio._loop_thread import LoopThread
    from peft_studio.manager import ConnectorManager
    from peft_studio.models import Deployment, JobStatus, ModelInfo, Run, RunBatch


class SyncRegistryCalls:
    """A platform that keeps models and adapters."""

    _manager: ConnectorManager
    _loop: LoopThread

    def search_models(self, name: str, query: str, limit: int | None = None) -> list[ModelInfo]:
        """Models that match, at most so many."""
        return self._loop.run(self._manager.search_models(name, query, limit))

    def get_model_metadata(self, name: str, model_id: str) -> ModelInfo:
        """What the registry knows of one model."""
        return self._loop.run(self._manager.get_model_metadata(name, model_id))

    def download_model(self, name: str, model_id: str, destination: Path | str) -> Path:
        """Bring a model's files to `destination`, verified."""
        return self._loop.run(self._manager.download_model(name, model_id, destination))


class SyncTrackingCalls:
    """A platform that records runs; `get_metrics` reads them back."""

    _manager: ConnectorManager
    _loop: LoopThread

    def start_run(self, name: str, config: Mapping[str, Any]) -> str:
        """Open a run and return its id."""
        return self._loop.run(self._manager.start_run(name, config))

    def log_metrics(self, name: str, run_id: str, metrics: Mapping[str, float], step: int) -> None:
        """Record metrics of one step."""
        self._loop.run(self._manager.log_metrics(name, run_id, metrics, step))

    def log_text(self, name: str, run_id: str, text: str) -> None:
        """Record a line of console output."""
        self._loop.run(self._manager.log_text(name, run_id, text))

    def finish_run(self, name: str, run_id: str, status: JobStatus) -> None:
        """Close the run."""
        self._loop.run(self._manager.finish_run(name, run_id, status))

    def log_batch(self, name: str, run_id: str, batch: RunBatch, *, is_doubtful: bool = False) -> bool:
        """Record a piece of a run; True when somebody asks, at the tracker, that the job be stopped.

        Where the connector has no such method the rows and lines are recorded one by one. `is_doubtful` says that some
        may be there from an earlier attempt: rows are then looked for first, as far as the tracker can be read.
        """
        return self._loop.run(self._manager.log_batch(name, run_id, batch, is_doubtful=is_doubtful))

    def list_runs(
        self,
        name: str,
        project: str | None = None,
        *,
        status: JobStatus | None = None,
        search: str | None = None,
        limit: int | None = None,
    ) -> list[Run]:
        """Runs of a project or of all, newest first: those with that status, those whose name or id has that text.

        Raises `UnsupportedCapability` for a tracker that lists none.
        """
        return self._loop.run(self._manager.list_runs(name, project, status=status, search=search, limit=limit))

    def get_run(self, name: str, run_id: str) -> Run:
        """One run, with its config and summary. Raises `JobNotFound`; `get_metrics` has its rows."""
        return self._loop.run(self._manager.get_run(name, run_id))


class SyncInferenceCalls:
    """A platform that serves models."""

    _manager: ConnectorManager
    _loop: LoopThread

    def deploy_model(self, name: str, /, model_id: str, **options: Any) -> str:
        """Serve a model and return the deployment's id; `options` are the platform's own."""
        return self._loop.run(self._manager.deploy_model(name, model_id, **options))

    def get_endpoint_url(self, name: str, deployment_id: str) -> str:
        """Where the deployment answers."""
        return self._loop.run(self._manager.get_endpoint_url(name, deployment_id))

    def invoke_endpoint(self, name: str, deployment_id: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask the deployment."""
        return self._loop.run(self._manager.invoke_endpoint(name, deployment_id, payload))

    def list_deployments(self, name: str) -> list[Deployment]:
        """Every deployment of the account."""
        return self._loop.run(self._manager.list_deployments(name))

    def stop_deployment(self, name: str, deployment_id: str) -> bool:
        """Stop serving, and paying; True when it is stopped or was before."""
        return self._loop.run(self._manager.stop_deployment(name, deployment_id))

    def get_deployment_metrics(self, name: str, deployment_id: str) -> Mapping[str, Any]:
        """Requests, latency and cost as the platform reports them."""
        return self._loop.run(self._manager.get_deployment_metrics(name, deployment_id))

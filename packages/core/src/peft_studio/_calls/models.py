"""The calls about models and runs: registries, trackers, and platforms that serve a model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft_studio._calls.connections import Connections
from peft_studio.errors import UnsupportedCapability
from peft_studio.models import Deployment, JobStatus, ModelInfo, Run, RunBatch


class RegistryCalls(Connections):
    """A platform that keeps models and adapters."""

    async def search_models(self, name: str, query: str, limit: int | None = None) -> list[ModelInfo]:
        """Models that match, at most so many."""
        session = self._session(name)
        enough = {"limit": limit} if session.takes("search_models", "limit") else {}
        return (await session.ask_list("search_models", ModelInfo, query=query, **enough))[:limit]

    async def get_model_metadata(self, name: str, model_id: str) -> ModelInfo:
        """What the registry knows of one model."""
        answer: ModelInfo = await self._session(name).ask("get_model_metadata", ModelInfo, model_id=model_id)
        return answer

    async def download_model(self, name: str, model_id: str, destination: Path | str) -> Path:
        """Bring a model's files to `destination`, verified."""
        destination = Path(destination)
        return Path(await self._session(name).ask("download_model", Path, model_id=model_id, destination=destination))


class TrackingCalls(Connections):
    """A platform that records runs; `get_metrics` reads them back."""

    async def start_run(self, name: str, config: Mapping[str, Any]) -> str:
        """Open a run and return its id."""
        return str(await self._session(name).ask("start_run", str, config=config))

    async def log_metrics(self, name: str, run_id: str, metrics: Mapping[str, float], step: int) -> None:
        """Record metrics of one step."""
        await self._session(name).call("log_metrics", run_id=run_id, metrics=metrics, step=step)

    async def log_text(self, name: str, run_id: str, text: str) -> None:
        """Record a line of console output."""
        await self._session(name).call("log_text", run_id=run_id, text=text)

    async def finish_run(self, name: str, run_id: str, status: JobStatus) -> None:
        """Close the run."""
        await self._session(name).call("finish_run", run_id=run_id, status=status)

    async def log_batch(self, name: str, run_id: str, batch: RunBatch, *, is_doubtful: bool = False) -> bool:
        """Record a piece of a run; True when somebody asks, at the tracker, that the job be stopped.

        Where the connector has no such method the rows and lines are recorded one by one. `is_doubtful` says that some
        may be there from an earlier attempt: rows are then looked for first, as far as the tracker can be read.
        """
        session = self._session(name)
        if session.offers("log_batch"):
            return bool(await session.ask("log_batch", bool, run_id=run_id, batch=batch))
        known = await self._known_steps(name, run_id) if is_doubtful else set()
        for row in batch.rows:
            if row.step not in known:
                await self.log_metrics(name, run_id, row.metrics, row.step)
        for line in batch.lines:
            await self.log_text(name, run_id, line.text)
        if batch.status is not None and batch.status.is_terminal:
            await self.finish_run(name, run_id, batch.status)
        return False

    async def list_runs(
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
        wanted = {"project": project, "status": status, "search": search, "limit": limit}
        return await self._session(name).ask_list("list_runs", Run, **wanted)

    async def get_run(self, name: str, run_id: str) -> Run:
        """One run, with its config and summary. Raises `JobNotFound`; `get_metrics` has its rows."""
        answer: Run = await self._session(name).ask("get_run", Run, run_id=run_id)
        return answer

    async def _known_steps(self, name: str, run_id: str) -> set[Any]:
        """Steps that the tracker reads back; none where it cannot: a row twice is better than none."""
        try:
            rows = await self._session(name).ask("get_metrics", list, job_id=run_id)
        except UnsupportedCapability:
            return set()
        return {row.get("step") for row in rows}


class InferenceCalls(Connections):
    """A platform that serves models."""

    async def deploy_model(self, name: str, /, model_id: str, **options: Any) -> str:
        """Serve a model and return the deployment's id; `options` are the platform's own."""
        return str(await self._session(name).ask("deploy_model", str, model_id=model_id, **options))

    async def get_endpoint_url(self, name: str, deployment_id: str) -> str:
        """Where the deployment answers."""
        return str(await self._session(name).ask("get_endpoint_url", str, deployment_id=deployment_id))

    async def invoke_endpoint(self, name: str, deployment_id: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask the deployment."""
        session = self._session(name)
        answer: Mapping[str, Any] = await session.ask(
            "invoke_endpoint", Mapping, deployment_id=deployment_id, payload=payload
        )
        return answer

    async def list_deployments(self, name: str) -> list[Deployment]:
        """Every deployment of the account."""
        return await self._session(name).ask_list("list_deployments", Deployment)

    async def stop_deployment(self, name: str, deployment_id: str) -> bool:
        """Stop serving, and paying; True when it is stopped or was before."""
        return bool(await self._session(name).ask("stop_deployment", bool, deployment_id=deployment_id))

    async def get_deployment_metrics(self, name: str, deployment_id: str) -> Mapping[str, Any]:
        """Requests, latency and cost as the platform reports them."""
        session = self._session(name)
        answer: Mapping[str, Any] = await session.ask("get_deployment_metrics", Mapping, deployment_id=deployment_id)
        return answer

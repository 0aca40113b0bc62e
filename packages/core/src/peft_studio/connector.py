"""The connector interface: one class per platform, small capabilities, refusals written once.

`PlatformConnector` answers the whole documented interface. What a connector does not declare is refused here with
`UnsupportedCapability`, so no connector writes a refusal and every documented method can be called on every one.
"""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from peft_studio.errors import UnsupportedCapability
from peft_studio.models import (
    Deployment,
    JobEvent,
    JobStatus,
    ModelInfo,
    Observed,
    PricingInfo,
    Rental,
    Resource,
    Run,
    RunBatch,
)
from peft_studio.training_config import TrainingConfig


class PlatformConnector(ABC):
    """One platform. Subclass a capability below rather than this, unless you set the flags by hand."""

    name: ClassVar[str]
    display_name: ClassVar[str]
    description: ClassVar[str]
    version: ClassVar[str]

    supports_training: ClassVar[bool] = False
    supports_inference: ClassVar[bool] = False
    supports_registry: ClassVar[bool] = False
    supports_tracking: ClassVar[bool] = False

    #: True when a job's machine stays, and costs, until `end_rental`: whoever has the results ends it.
    rents_machines: ClassVar[bool] = False

    @abstractmethod
    async def connect(self, credentials: Mapping[str, str]) -> bool:
        """Open the connection and check the credentials. Raises `InvalidCredentials` or `ConnectionFailed`."""

    @abstractmethod
    async def disconnect(self) -> Any:
        """Let everything go. Safe to call twice; jobs on the platform go on."""

    async def verify_connection(self) -> bool:
        """True while the platform answers and knows us. The default trusts `connect`."""
        return True

    @property
    def observed(self) -> Observed | None:
        """What the platform's answers have said of themselves; with a transport, `return self._transport.observed`."""
        return None

    def get_required_credentials(self) -> list[str]:
        """Keys that `connect` cannot do without; the manager asks for them before it calls `connect`."""
        return []

    def validate_config(self, config: TrainingConfig) -> Any:  # noqa: B027 -- accepting everything is the default
        """Refuse, with `InvalidConfig`, what this platform cannot honour. The default accepts everything."""

    # Training.

    async def submit_job(self, config: TrainingConfig) -> str:
        """Start the job and return the platform's id of it. `config.tag` names whatever is created for it.

        Raises `InsufficientCreditsError`, `CapacityError` or another `PlatformError` when the platform says no, and
        nothing was created. Raises `ConnectionFailed` when its answer was lost: the job may exist, so it must not be
        asked for again.
        """
        self._refuse("training", "run jobs")

    async def feed_job(self, job_id: str, config: TrainingConfig, tell: Callable[[str], None] | None = None) -> None:
        """Bring to a job what it needs to begin, where the platform cannot: to the machine that was rented for it.

        Called after the submission is in the ledger, and again by whoever follows a job that did not begin. `tell`
        hears of the progress. Raises `ConnectionFailed` when it may be tried again, any other error when it is over.
        """
        self._refuse("training", "bring files to jobs")

    async def get_job_status(self, job_id: str) -> JobStatus:
        """Ask the platform. Raises `JobNotFound`, and `ConnectionFailed` when it cannot be asked."""
        self._refuse("training", "run jobs")

    async def cancel_job(self, job_id: str) -> bool:
        """Stop the job for good; True when it is stopped or was over already. Raises `JobNotFound`."""
        self._refuse("training", "cancel jobs")

    async def pause_job(self, job_id: str) -> bool:
        """Stop at a checkpoint, to be resumed later."""
        self._refuse("training", "pause jobs")

    async def resume_job(self, job_id: str) -> bool:
        """Go on from the last checkpoint."""
        self._refuse("training", "resume jobs")

    def stream_logs(self, job_id: str) -> AsyncIterator[str]:
        """Log lines from the first one; ends when the job ends. Raises `JobNotFound`."""
        self._refuse("training", "stream logs")

    def stream_events(self, job_id: str, after: int = 0) -> AsyncIterator[JobEvent]:
        """The event log after sequence number `after`; ends when the job ends. What the worker writes has one."""
        self._refuse("training", "stream events")

    async def find_job(self, tag: str) -> str | None:
        """The id of the job that was submitted with `tag`, or None when the platform knows none."""
        self._refuse("training", "find jobs by tag")

    async def get_metrics(self, job_id: str) -> list[Mapping[str, Any]]:
        """Metrics of a job or run, oldest first."""
        self._refuse("training", "report metrics")

    async def fetch_artifact(self, job_id: str) -> bytes:
        """The adapter folder as the bytes of a tar archive, for small adapters. See `download_artifact`."""
        self._refuse("training", "fetch artifacts")

    async def download_artifact(self, job_id: str, destination: Path) -> Path:
        """Stream the adapter folder to `destination`, verified. Raises `ArtifactNotFound`."""
        self._refuse("training", "download artifacts")

    async def list_resources(self) -> list[Resource]:
        """Machines or flavours that can be had now; those that are taken have `available` False."""
        self._refuse("training", "list resources")

    async def get_pricing(self, resource_id: str) -> PricingInfo:
        """What a resource costs now."""
        self._refuse("training", "price resources")

    async def get_job_cost(self, job_id: str) -> Decimal | None:
        """What the job has cost so far with everything that was rented for it, US dollars; None when nobody knows."""
        self._refuse("training", "tell what jobs cost")

    # Registry and tracking.

    async def upload_artifact(self, path: str, metadata: Mapping[str, Any]) -> str:
        """Upload a file or an adapter folder; returns its id or address there.

        `metadata` may hold `name` and, for registries that know owners and revisions, `repo_id`, as the user has
        written it (`me/my-adapter@draft`); `private`; `message`, what has changed; `base_model`, `license`, `tags`,
        `description`; `dataset`, the name of the data; `loss_curve`, pairs of step and training loss. All of them may
        be missing, and others be there. An upload is repeated when its answer was lost: the same should change nothing.
        """
        self._refuse("registry", "store artifacts")

    async def search_models(self, query: str) -> list[ModelInfo]:
        """Models that match `query`.

        A connector that can ask for a part of them takes `limit: int | None = None` as well: so many are enough.
        """
        self._refuse("registry", "search models")

    async def get_model_metadata(self, model_id: str) -> ModelInfo:
        """What the registry knows of one model."""
        self._refuse("registry", "describe models")

    async def download_model(self, model_id: str, destination: Path) -> Path:
        """Stream a model's files to `destination`, verified."""
        self._refuse("registry", "download models")

    async def start_run(self, config: Mapping[str, Any]) -> str:
        """Open a run and return its id."""
        self._refuse("tracking", "track runs")

    async def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int) -> None:
        """Record metrics of one step."""
        self._refuse("tracking", "track runs")

    async def log_text(self, run_id: str, text: str) -> None:
        """Record a line of console output."""
        self._refuse("tracking", "track runs")

    async def finish_run(self, run_id: str, status: JobStatus) -> None:
        """Close the run."""
        self._refuse("tracking", "track runs")

    async def log_batch(self, run_id: str, batch: RunBatch) -> bool:
        """Record a piece of a run, so that the same piece again changes nothing; close the run where it says so.

        Optional: without it the rows and lines of a batch are recorded one by one. Returns True when somebody asks, at
        the tracker, that the job be stopped. Raises `JobNotFound`.
        """
        self._refuse("tracking", "record pieces of runs")

    async def list_runs(
        self,
        project: str | None = None,
        *,
        status: JobStatus | None = None,
        search: str | None = None,
        limit: int | None = None,
    ) -> list[Run]:
        """Runs, newest first, whoever wrote them: those of a project or of all, every page of them.

        `status` and `search` (a text in the name or id, in small or capital letters) leave out the others, `limit` all
        but the newest of those.
        """
        self._refuse("tracking", "list runs")

    async def get_run(self, run_id: str) -> Run:
        """One run, with its config and summary. Raises `JobNotFound`."""
        self._refuse("tracking", "describe runs")

    # Inference.

    async def deploy_model(self, model_id: str, **options: Any) -> str:
        """Serve a model and return the deployment's id."""
        self._refuse("inference", "serve models")

    async def get_endpoint_url(self, deployment_id: str) -> str:
        """Where the deployment answers."""
        self._refuse("inference", "serve models")

    async def invoke_endpoint(self, deployment_id: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send `payload` to the deployment and return its answer."""
        self._refuse("inference", "serve models")

    async def list_deployments(self) -> list[Deployment]:
        """Every deployment of the account."""
        self._refuse("inference", "serve models")

    async def stop_deployment(self, deployment_id: str) -> bool:
        """Stop serving, and paying."""
        self._refuse("inference", "serve models")

    async def get_deployment_metrics(self, deployment_id: str) -> Mapping[str, Any]:
        """Requests, latency and cost as the platform reports them."""
        self._refuse("inference", "report on deployments")

    # What lives on the account.

    async def list_rentals(self) -> list[Rental]:
        """Everything on the account that is alive and costs, or could: every page of it, whoever made it.

        What is gone is not listed. Raises `ConnectionFailed` when the platform cannot be asked: an empty list says that
        nothing is there. Raises `IncompleteList` when a part of it cannot, with what there is in the other parts.
        """
        self._refuse("training", "list what is rented")

    async def end_rental(self, rental_id: str) -> bool:
        """End it for good, and look: True when the platform's own list does not have it, now or before, else False."""
        self._refuse("training", "end what is rented")

    def _refuse(self, capability: str, verb: str) -> NoReturn:
        raise UnsupportedCapability(
            f"{self.name} does not {verb}",
            remedy=f"list those that might: peft-studio connectors list --feature {capability}",
        )


class TrainingConnector(PlatformConnector):
    """A platform that runs jobs."""

    supports_training: ClassVar[bool] = True

    @abstractmethod
    async def submit_job(self, config: TrainingConfig) -> str: ...

    @abstractmethod
    async def get_job_status(self, job_id: str) -> JobStatus: ...

    @abstractmethod
    async def cancel_job(self, job_id: str) -> bool: ...

    @abstractmethod
    def stream_logs(self, job_id: str) -> AsyncIterator[str]: ...

    @abstractmethod
    async def download_artifact(self, job_id: str, destination: Path) -> Path: ...

    @abstractmethod
    async def list_resources(self) -> list[Resource]: ...

    @abstractmethod
    async def get_pricing(self, resource_id: str) -> PricingInfo: ...

    async def fetch_artifact(self, job_id: str) -> bytes:
        """The adapter folder as the bytes of an uncompressed tar archive, built on `download_artifact`."""
        from peft_studio.artifacts import pack

        with tempfile.TemporaryDirectory(prefix="peft-studio-") as folder:
            return pack(await self.download_artifact(job_id, Path(folder) / "artifact"))


class RegistryConnector(PlatformConnector):
    """A platform that keeps models and adapters."""

    supports_registry: ClassVar[bool] = True

    @abstractmethod
    async def upload_artifact(self, path: str, metadata: Mapping[str, Any]) -> str: ...

    @abstractmethod
    async def search_models(self, query: str) -> list[ModelInfo]: ...

    @abstractmethod
    async def get_model_metadata(self, model_id: str) -> ModelInfo: ...

    @abstractmethod
    async def download_model(self, model_id: str, destination: Path) -> Path: ...


class TrackingConnector(PlatformConnector):
    """A platform that records runs."""

    supports_tracking: ClassVar[bool] = True

    @abstractmethod
    async def start_run(self, config: Mapping[str, Any]) -> str: ...

    @abstractmethod
    async def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int) -> None: ...

    @abstractmethod
    async def log_text(self, run_id: str, text: str) -> None: ...

    @abstractmethod
    async def finish_run(self, run_id: str, status: JobStatus) -> None: ...

    @abstractmethod
    async def get_metrics(self, job_id: str) -> list[Mapping[str, Any]]: ...

    @abstractmethod
    async def upload_artifact(self, path: str, metadata: Mapping[str, Any]) -> str: ...


class InferenceConnector(PlatformConnector):
    """A platform that serves models."""

    supports_inference: ClassVar[bool] = True

    @abstractmethod
    async def deploy_model(self, model_id: str, **options: Any) -> str: ...

    @abstractmethod
    async def get_endpoint_url(self, deployment_id: str) -> str: ...

    @abstractmethod
    async def invoke_endpoint(self, deployment_id: str, payload: Mapping[str, Any]) -> Mapping[str, Any]: ...

    @abstractmethod
    async def list_deployments(self) -> list[Deployment]: ...

    @abstractmethod
    async def stop_deployment(self, deployment_id: str) -> bool: ...

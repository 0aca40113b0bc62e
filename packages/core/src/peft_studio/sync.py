"""`SyncConnectorManager`: the manager for scripts and notebooks, where every call waits for its answer.

Made by packages/core/make_sync.py from `ConnectorManager` and `Jobs`; do not edit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from peft_studio._calls.submission import SubmissionLedger
    from peft_studio._loop_thread import LoopThread
    from peft_studio.connector import PlatformConnector
    from peft_studio.health import Health
    from peft_studio.hooks import Outcome
    from peft_studio.jobs import Jobs
    from peft_studio.ledger import JobRecord
    from peft_studio.models import (
        Deployment,
        JobEvent,
        JobStatus,
        ModelInfo,
        Observed,
        PricingInfo,
        Rental,
        Resource,
        RunBatch,
    )
    from peft_studio.reconcile.account import Ended
    from peft_studio.records import ConnectorRecord
    from peft_studio.registry import ConnectorRegistry
    from peft_studio.training_config import TrainingConfig


class SyncConnectorManager:
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

    def connect(self, name: str, credentials: Mapping[str, str] | None = None) -> bool:
        """Connect, once however often it is asked for; other credentials replace the connection.

        Fields that `credentials` leaves out come from the credentials that the manager was made with, the environment,
        vault plugins, the encrypted file, the keyring, and the platform's own login file, in this order. Raises
        `ConnectorNotFound`, `BrokenConnector`, `InvalidCredentials` and `ConnectionFailed`; after each of them there
        is no connection.
        """
        return self._loop.run(self._manager.connect(name, credentials))

    def disconnect(self, name: str) -> None:
        """Let the connection go; jobs on the platform go on. Does nothing when there is none."""
        self._loop.run(self._manager.disconnect(name))

    def disconnect_all(self) -> None:
        """Let every connection go, also when one of them fails to; the first failure is raised at the end.

        A ledger that the manager opened itself is closed too, and opened again when it is needed.
        """
        self._loop.run(self._manager.disconnect_all())

    def is_connected(self, name: str) -> bool:
        """True between `connect` and `disconnect`; `verify_connection` asks the platform."""
        return self._manager.is_connected(name)

    def get_connector(self, name: str) -> PlatformConnector:
        """The connected instance itself. Raises `ConnectionFailed` when there is none."""
        return self._manager.get_connector(name)

    def rents_machines(self, name: str) -> bool:
        """True when what was rented for a job of this connector stays, and costs, until `end_rental`."""
        return self._manager.rents_machines(name)

    def connectors_with_credentials(self) -> list[str]:
        """Connectors whose required credentials are all to be found, by name; there are some that require none."""
        return self._manager.connectors_with_credentials()

    def verify_connection(self, name: str) -> bool:
        """True while the platform answers and knows us."""
        return self._loop.run(self._manager.verify_connection(name))

    def observed(self, name: str) -> Observed | None:
        """What the platform's answers have said of themselves; None when the connector does not listen."""
        return self._manager.observed(name)

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

    def search_models(self, name: str, query: str) -> list[ModelInfo]:
        """Models that match."""
        return self._loop.run(self._manager.search_models(name, query))

    def get_model_metadata(self, name: str, model_id: str) -> ModelInfo:
        """What the registry knows of one model."""
        return self._loop.run(self._manager.get_model_metadata(name, model_id))

    def download_model(self, name: str, model_id: str, destination: Path | str) -> Path:
        """Bring a model's files to `destination`, verified."""
        return self._loop.run(self._manager.download_model(name, model_id, destination))

    def list_rentals(self, name: str) -> list[Rental]:
        """Everything on the account that is alive. Raises `ConnectionFailed` when the platform cannot be asked."""
        return self._loop.run(self._manager.list_rentals(name))

    def end_rental(self, name: str, rental_id: str) -> bool:
        """End it for good; True when the platform's own list says that it is gone."""
        return self._loop.run(self._manager.end_rental(name, rental_id))

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


class SyncJobs:
    """The jobs of one manager's ledger; had from `SyncConnectorManager.jobs`."""

    def __init__(self, jobs: Jobs, loop: LoopThread) -> None:
        self._jobs = jobs
        self._loop = loop

    def submit(self, connector: str, config: TrainingConfig, *, feed: bool = True) -> JobRecord:
        """Start a job and return its record; without `feed` the first `follow` brings it what it needs."""
        return self._loop.run(self._jobs.submit(connector, config, feed=feed))

    def feed(self, id: str, tell: Callable[[str], None] | None = None) -> JobRecord:
        """Bring to a job that has not begun what it needs, where its platform cannot; `tell` hears how it goes.

        It may take minutes: a machine that was rented for the job comes up first. When that fails for good, the job is
        failed and the machine ended. Raises `ConnectionFailed` when it may be tried again.
        """
        return self._loop.run(self._jobs.feed(id, tell))

    def finish(self, id: str, *, has_adapter: bool = False, is_empty: bool = False) -> list[Ended]:
        """End what was rented for a job that is over, after bringing home the rest of its log and its adapter.

        The adapter goes to its output_dir, or to the data directory, unless the caller has it. Nothing is ended while
        it cannot be saved. A job that `is_empty` never began. Where nothing is rented this does nothing.
        """
        return self._loop.run(self._jobs.finish(id, has_adapter=has_adapter, is_empty=is_empty))

    def list_jobs(self) -> list[JobRecord]:
        """Every job, newest first; those that may still change are asked about.

        A platform that did not answer lately is left alone, for a while: its jobs are unreachable.
        """
        return self._loop.run(self._jobs.list_jobs())

    def get(self, id: str) -> JobRecord:
        """One job, asked about unless it is over."""
        return self._loop.run(self._jobs.get(id))

    def follow(self, id: str, after: int = 0) -> Generator[JobEvent]:
        """Events after that sequence number: what is known, then what comes, until the job stops.

        While a machine is made ready for the job its start is told in log events with the number 0, which are not kept.
        What was rented for the job is ended when the job is over and its adapter is home: see `finish`.
        """
        return self._loop.iterate(self._jobs.follow(id, after))

    def keep_within_budget(self, id: str) -> JobRecord:
        """One job, asked about; when its worker lets it pass max_cost or max_duration, it is cancelled."""
        return self._loop.run(self._jobs.keep_within_budget(id))

    def drain(self, id: str) -> None:
        """Copy what the platform has of the job's log and the ledger has not. Raises where `follow` does."""
        self._loop.run(self._jobs.drain(id))

    def locate(self, id: str) -> str:
        """The platform's id of a job; one whose answer was lost is looked for, and adopted.

        Raises `UnknownOutcome` when the platform does not have it, or cannot tell.
        """
        return self._loop.run(self._jobs.locate(id))

    def events(self, id: str) -> list[JobEvent]:
        """Everything that has happened so far, without waiting for more."""
        return self._loop.run(self._jobs.events(id))

    def cancel(self, id: str, reason: str | None = None) -> JobRecord:
        """Stop a job for good; one that waits in the offline queue is never submitted.

        The wish is in the ledger before the platform is asked, and until the platform's own answer says that the job
        is over: `reconcile` goes on with it.
        """
        return self._loop.run(self._jobs.cancel(id, reason))

    def go_on_cancelling(self, id: str) -> JobRecord:
        """Ask for what `cancel` has written down, and look whether it has happened."""
        return self._loop.run(self._jobs.go_on_cancelling(id))

    def pause(self, id: str) -> JobRecord:
        """Stop a job at a checkpoint."""
        return self._loop.run(self._jobs.pause(id))

    def resume(self, id: str) -> JobRecord:
        """Let a stopped job go on."""
        return self._loop.run(self._jobs.resume(id))

    def metrics(self, id: str) -> list[Mapping[str, Any]]:
        """Training and validation steps, oldest first. A step that was trained twice (resumed) is told once."""
        return self._loop.run(self._jobs.metrics(id))

    def pull(self, id: str, destination: Path | str) -> Path:
        """Bring the adapter to `destination`, verified, from here when it has come home before.

        What was rented for the job is ended then. Raises `ArtifactNotFound` and `InvalidConfig`.
        """
        return self._loop.run(self._jobs.pull(id, destination))

    def save(self, id: str, destination: Path) -> Path:
        """As `pull`, always from the platform, and everything that was rented stays."""
        return self._loop.run(self._jobs.save(id, destination))

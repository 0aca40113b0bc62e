"""`HuggingFaceSandbox`: the Hub on loopback, and the object storage behind it on an origin of its own."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Mount

from peft_studio.models import JobStatus
from peft_studio_huggingface.sandbox.account_routes import AccountRoutes
from peft_studio_huggingface.sandbox.accounts import Accounts
from peft_studio_huggingface.sandbox.commit_routes import CommitRoutes
from peft_studio_huggingface.sandbox.doorman import Doorman
from peft_studio_huggingface.sandbox.endpoint_routes import EndpointRoutes
from peft_studio_huggingface.sandbox.exposed_routes import ExposedRoutes
from peft_studio_huggingface.sandbox.hardware import FLAVORS
from peft_studio_huggingface.sandbox.hub import Hub
from peft_studio_huggingface.sandbox.hub_job import HubJob, JobOfHub, with_timeout
from peft_studio_huggingface.sandbox.job_routes import JobRoutes
from peft_studio_huggingface.sandbox.lfs_routes import LfsRoutes, Multipart
from peft_studio_huggingface.sandbox.limits import Limits
from peft_studio_huggingface.sandbox.models import HubModels
from peft_studio_huggingface.sandbox.problems import Refusal, on_http_error, on_refusal
from peft_studio_huggingface.sandbox.reading_routes import ReadingRoutes
from peft_studio_huggingface.sandbox.rented_job import PretendingJob, seeded_body
from peft_studio_huggingface.sandbox.resolve_routes import ResolveRoutes
from peft_studio_huggingface.sandbox.router_routes import RouterRoutes
from peft_studio_huggingface.sandbox.search_routes import SearchRoutes
from peft_studio_huggingface.sandbox.serving import EndpointTable, Serving
from peft_studio_huggingface.sandbox.signing import Signer
from peft_studio_huggingface.sandbox.storage import Storage
from peft_studio_huggingface.sandbox.store import Store
from peft_studio_huggingface.sandbox.writing_routes import WritingRoutes
from peft_studio_testkit.sandbox import HttpSandbox, Job
from peft_studio_testkit.sandbox.edge import Edge
from peft_studio_testkit.sandbox.jobs import Script
from peft_studio_testkit.sandbox.server import Listener


class HuggingFaceSandbox(HttpSandbox):
    """Models as git repositories with LFS: what a client of the Hub finds at `HF_ENDPOINT`."""

    secret_keys = ("token",)
    expected_failures: ClassVar[Mapping[str, str]] = {
        "search-finds-unicode": "the Hub has no other letters than those of ASCII in its ids, which are its names",
    }
    job_creation = ("POST", r"^/api/jobs/[^/]+$")
    log_stream: ClassVar[str] = r"/logs$|/v1/events$"
    file_upload = ("PUT", r"(?:/lfs/|/v1/inputs/).")
    file_download: ClassVar[str] = r"(?:/resolve/|/lfs/|/v1/artifact/)."
    #: The Hub's own are of 1000: here a client that stops after the first page is noticed sooner.
    page_size: ClassVar[int] = 20

    def __init__(self, *, speed: float = 0.0, worker: bool = False, port: int = 0) -> None:
        super().__init__(speed=speed, worker=worker, port=port)
        self.accounts = Accounts(lambda: self.key)
        self.limits = Limits(self.clock)
        self.multipart = Multipart()
        self._store = Store()
        #: The truth: `hub[id].head.files`, `.branches`, `.tags`; `hub.add` seeds it.
        self.hub = Hub(self.accounts, self._store, self.clock)
        self.models = HubModels(self.hub)
        #: What is served: `serving.endpoints` by `namespace/name`, `.instances`, `.providers`, `.routed`.
        self.serving = Serving(self.clock)
        self.deployments = EndpointTable(self.serving)
        self._signer = Signer(self.clock, lambda: self.storage_url)

    # The platform.

    def routes(self) -> list[BaseRoute]:
        hub = Starlette(
            routes=[
                *AccountRoutes(self.accounts).routes(),
                *SearchRoutes(self.hub, lambda: self.page_size).routes(),
                *WritingRoutes(self.hub).routes(),
                *CommitRoutes(self.hub).routes(),
                *ReadingRoutes(self.hub, lambda: self.page_size).routes(),
                *LfsRoutes(self.hub, self._signer, self.multipart).routes(),
                *JobRoutes(self.jobs, self.accounts, self.clock, lambda: self.page_size).routes(),
                *EndpointRoutes(self.serving, self.hub, lambda: self.url).routes(),
                *RouterRoutes(self.serving, self.accounts).routes(),
                *ResolveRoutes(self.hub, self._signer).routes(),
            ],
            exception_handlers={Refusal: on_refusal, HTTPException: on_http_error},
        )
        return [*ExposedRoutes(self.jobs).routes(), Mount("/", Doorman(hub, self.accounts, self.limits))]

    def authenticate(self, request: HTTPConnection) -> bool:
        """The doorman does: much may be had without a token."""
        return True

    def error_body(self, message: str) -> dict[str, str]:
        return {"error": message}

    def credentials(self) -> dict[str, str]:
        return {
            "token": self.key,
            "base_url": self.url,
            "endpoints_url": self.endpoints_url,
            "router_url": f"{self.url}/v1",
        }

    def environment(self) -> dict[str, str]:
        """A client with Xet never falls back to LFS by itself, so it is switched off."""
        return {"HF_ENDPOINT": self.url, "HF_TOKEN": self.key, "HF_HUB_DISABLE_XET": "1"}

    @property
    def endpoints_url(self) -> str:
        """Address of Inference Endpoints, for which `huggingface_hub` has no variable."""
        return f"{self.url}/v2"

    @property
    def storage_url(self) -> str:
        """Where files in LFS are. Its requests stand in `requests`, and faults strike it, as they do the Hub."""
        return self._listener(2).url

    def start(self) -> None:
        super().start()
        self._listeners.append(Listener(Edge(self, Starlette(routes=Storage(self._store, self._signer).routes()))))
        self._server().call(self._open)

    def reset(self) -> None:
        super().reset()
        self._store.open(self.folder / "hub")
        self.accounts.reset()
        self.limits.reset()
        self.hub.clear()
        self.serving.reset()
        self.multipart.above, self.multipart.part_size = Multipart().above, Multipart().part_size

    # What a test does to it.

    def limit(self, requests: int, seconds: float) -> None:
        """The same quota and length for both windows of the rate limit."""
        self.limits.set(requests, seconds)

    def bills(self) -> dict[str, Decimal]:
        """What costs money now or will in a moment, by the id of the job or endpoint: USD in an hour."""
        prices = {flavor.name: flavor.hourly for flavor in FLAVORS}
        alive = [job for job in self.jobs.values() if isinstance(job, JobOfHub) and not job.is_gone]
        rates = {job.id: prices[job.asked.get("flavor", "cpu-basic")] for job in alive}
        return rates | {id: endpoint.hourly for id, endpoint in self.serving.endpoints.items() if endpoint.hourly}

    def _start_job(self, id: str, tag: str | None, received: Mapping[str, Any], *, is_held: bool = False) -> Job:
        if is_held and self.worker and self._next_script is None:
            from peft_studio_huggingface.sandbox.working_job import WorkingJob

            return WorkingJob(id, received, self.clock, self.folder / "machines" / id, lambda: self.url)
        script, self._next_script = self._next_script or self._script(), None
        if tag is not None:
            return self._rented(id, tag, received, script, JobStatus.PENDING, is_held=is_held)
        return HubJob(id, tag, received, self.clock, with_timeout(script, received), JobStatus.PENDING)

    def _rented(
        self,
        id: str,
        tag: str,
        received: Mapping[str, Any],
        script: Script,
        status: JobStatus,
        *,
        is_held: bool = False,
    ) -> Job:
        """One whose worker pretends; of one that is seeded the connector's part is made up."""
        body = received if is_held else seeded_body(tag, self.key)
        config = {} if is_held else received
        job = PretendingJob(
            id, tag, config, self.clock, script, status, is_held=is_held, body=body, origin=lambda: self.url
        )
        if status.is_terminal:
            job.finish("COMPLETED")
        else:
            job.serve(self.folder / "machines" / id)
        return job

    def _seed_job(
        self, id: str, tag: str | None, received: Mapping[str, Any], status: JobStatus, script: Mapping[str, Any]
    ) -> Job:
        if status is JobStatus.FAILED:
            script = {"fails": "it was seeded as failed", **script}
        if tag is not None:
            return self._rented(id, tag, received, self._script(**script), status)
        return HubJob(id, tag, received, self.clock, self._script(**script), status)

"""`RunpodSandbox`: RunPod on loopback, whose pods are real processes of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Mount

from peft_studio.models import JobStatus
from peft_studio_runpod.sandbox.account import Account
from peft_studio_runpod.sandbox.bill import Rates
from peft_studio_runpod.sandbox.billing import Billing
from peft_studio_runpod.sandbox.catalogue import Catalogue
from peft_studio_runpod.sandbox.catalogue_routes import CatalogueRoutes
from peft_studio_runpod.sandbox.doorman import Doorman
from peft_studio_runpod.sandbox.fleet import Fleet
from peft_studio_runpod.sandbox.graphql import GraphQl
from peft_studio_runpod.sandbox.limits import Limits
from peft_studio_runpod.sandbox.pod_job import PodJob
from peft_studio_runpod.sandbox.pod_routes import PodRoutes
from peft_studio_runpod.sandbox.pretending import Pretending, seeded_spec
from peft_studio_runpod.sandbox.problems import EDGE_PAGES, Refusal, on_http_error, on_refusal
from peft_studio_runpod.sandbox.proxy import Proxy
from peft_studio_runpod.sandbox.timeline import Timeline
from peft_studio_runpod.sandbox.volumes import VolumeTable
from peft_studio_testkit.sandbox import Fault, HttpSandbox, Job


class RunpodSandbox(HttpSandbox):
    """REST v2, what is left of GraphQL, and the proxy to the pods' ports, each with the faults that are known of it."""

    job_creation = ("POST", r"/v2/pods$")
    log_stream: ClassVar[str] = r"/logs$|/v1/events$"
    file_upload = ("PUT", r"/v1/inputs/.")
    file_download: ClassVar[str] = r"/v1/artifact/."
    #: RunPod's own are of 1000: here a client that stops after the first page is noticed sooner.
    page_size: ClassVar[int] = 100

    def __init__(self, *, speed: float = 0.0, worker: bool = False, port: int = 0) -> None:
        super().__init__(speed=speed, worker=worker, port=port)
        self.timeline = Timeline(self.clock)
        self.catalogue = Catalogue()
        self.account = Account()
        self.limits = Limits(self.clock)
        self.volumes = VolumeTable(self.timeline)
        #: What there is: `pods[id].status`, `.log`, `.container`, `.bill`.
        pretending = Pretending(self.jobs, lambda: not self.worker or self._next_script is not None)
        self.pods = Fleet(self.catalogue, self.volumes, self.account, self.timeline, pretending)
        self.billing = Billing(self.pods, self.timeline)
        self.proxy = Proxy(self.pods)
        self.pods.api = lambda: self.url
        self.volumes.mounted = lambda: {pod.spec.volume_id for pod in self.pods.values() if pod.spec.volume_id}
        self.account.spent = self._spent
        self.account.rates = self._rates

    # The platform.

    def routes(self) -> list[BaseRoute]:
        rest = Starlette(
            routes=[
                *PodRoutes(self.pods, self.page_size).routes(),
                *CatalogueRoutes(self.catalogue).routes(),
                *self.volumes.routes(),
                *self.billing.routes(),
                *self.account.routes(),
            ],
            exception_handlers={Refusal: on_refusal, HTTPException: on_http_error},
        )
        graphql = GraphQl(self.pods, self.volumes, self.account, lambda: self.key)
        doorman = Doorman(rest, self.pods, self.account, self.limits, lambda: self.key)
        return [*graphql.routes(), *self.proxy.routes(), Mount("/", doorman)]

    def authenticate(self, request: HTTPConnection) -> bool:
        """The doorman does: who is asked for a key, and how, differs from one API to the other."""
        return True

    def error_body(self, message: str) -> dict[str, Any]:
        return {"title": "Error", "status": 400, "detail": message}

    def credentials(self) -> dict[str, str]:
        return {
            "api_key": self.key,
            "base_url": f"{self.url}/v2",
            "graphql_url": f"{self.url}/graphql",
            "proxy_url": f"{self.url}/proxy/{{pod_id}}-{{port}}",
        }

    def environment(self) -> dict[str, str]:
        return {"RUNPOD_API_KEY": self.key, "RUNPOD_API_BASE_URL": self.url}

    def start(self) -> None:
        super().start()
        self.pods.open(self.folder / "pods")
        self.volumes.root = self.folder / "volumes"

    def stop(self) -> None:
        self.pods.close()
        super().stop()

    def reset(self) -> None:
        super().reset()
        self.pods.clear()
        self.volumes.clear()
        self.catalogue.reset()
        self.account.reset()
        self.limits.reset()
        self.timeline.reset()
        self.billing.lag = 0.0
        self.proxy.limit = 100.0

    # What a test does to it.

    def limit(self, requests: int, seconds: float) -> None:
        """The smallest window of the rate limit; the other two stay."""
        self.limits.set_minute(requests, seconds)

    def lose_answer_of_create(self) -> Fault:
        """The next create makes a pod, and its answer is lost."""
        return self.faults.add("reset_after", *self.job_creation)

    def edge_error(
        self, number: int, method: str | None = None, path: str = "", *, times: int | None = 1, after: int = 0
    ) -> Fault:
        """The edge answers in the platform's place, with no JSON: 502, 524 or 1010."""
        status, body = EDGE_PAGES[number]
        headers = {"content-type": "text/html" if body.startswith("<") else "text/plain"}
        return self.faults.add(
            "status", method, path, times=times, after=after, code=status, body=body, headers=headers
        )  # fmt: skip

    def run_out_of_credit(self) -> None:
        """The balance is 0: pods are stopped, and nothing can be rented."""
        self.account.balance = Decimal(0)
        self.pods.run_out()

    def bills(self) -> dict[str, Decimal]:
        """What costs money now, by the id of the pod or network volume: USD in an hour."""
        rates = {pod.id: pod.bill.rates.total for pod in self.pods.values()}
        rates |= {volume.id: volume.bill.rates.total for volume in self.volumes.values()}
        return {id: rate for id, rate in rates.items() if rate}

    def _start_job(self, id: str, tag: str | None, received: Mapping[str, Any], *, is_held: bool = False) -> Job:
        if is_held and self.worker and self._next_script is None:
            return PodJob(self.pods[id], self.pods.job_folder(self.pods[id]))
        job = super()._start_job(id, tag, received, is_held=is_held)
        return job if is_held else self._seeded(job)  # one that is held has its pod, which was rented for it

    def _seed_job(
        self, id: str, tag: str | None, received: Mapping[str, Any], status: JobStatus, script: Mapping[str, Any]
    ) -> Job:
        return self._seeded(super()._seed_job(id, tag, received, status, script))

    def _seeded(self, job: Job) -> Job:
        if not job.status.is_terminal:  # the pod of one that is over has been deleted
            self.pods.seed(job, seeded_spec(job, self.key))
        return job

    def _spent(self) -> Decimal:
        bills = [pod.bill for pod in self.pods.ever] + [volume.bill for volume in self.volumes.ever]
        return sum((bill.between(0.0, self.clock.now()).total for bill in bills), Decimal(0))

    def _rates(self) -> list[Rates]:
        pods = [pod.bill.rates for pod in self.pods.values()]
        return pods + [volume.bill.rates for volume in self.volumes.values()]

"""A platform in memory that can be away, lose requests or answers, and refuse; with a connector for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import define, field

from peft_studio import (
    ConnectionFailed,
    JobNotFound,
    JobStatus,
    PlatformConnector,
    PricingInfo,
    Resource,
    UnsupportedCapability,
)


@define
class Account:
    """What exists there, and what goes wrong."""

    jobs: list[str] = field(factory=list)
    cancelled: list[str] = field(factory=list)
    stopped: list[str] = field(factory=list)
    uploads: list[Any] = field(factory=list)
    runs: dict[str, list[Any]] = field(factory=dict)
    calls: list[str] = field(factory=list)
    price: str | None = "1.00"
    currency: str = "USD"
    offline: bool = False
    loses_requests: bool = False
    loses_answers: bool = False
    finds_jobs: bool = True
    reads_back: bool = True
    refuses: Exception | None = None

    def arrive(self, call: str) -> None:
        """A request that changes something arrives, or does not."""
        self.calls.append(call)
        if self.loses_requests:
            raise ConnectionFailed("the request was lost")
        if self.refuses is not None:
            raise self.refuses

    def answer(self, value: Any) -> Any:
        """The answer arrives, or does not."""
        if self.loses_answers:
            raise ConnectionFailed("the answer was lost")
        return value


#: The account that the connectors speak to; a connector is made from its class alone.
ACCOUNT: list[Account] = []


class Acme(PlatformConnector):
    name = "acme"
    display_name = "Acme"
    description = "Everything in memory"
    version = "1.0.0"
    supports_training = supports_tracking = supports_registry = supports_inference = True

    def __init__(self) -> None:
        self.account = ACCOUNT[0]

    async def connect(self, credentials):
        if self.account.offline:
            raise ConnectionFailed("no route to acme")
        return True

    async def disconnect(self):
        pass

    async def submit_job(self, config):
        self.account.arrive("submit_job")
        self.account.jobs.append(config.tag)
        return self.account.answer(f"pod of {config.tag}")

    async def find_job(self, tag):
        if not self.account.finds_jobs:
            raise UnsupportedCapability("it cannot look for jobs")
        return f"pod of {tag}" if tag in self.account.jobs else None

    async def get_job_status(self, job_id):
        self._require(job_id)
        return JobStatus.CANCELLED if job_id in self.account.cancelled else JobStatus.RUNNING

    async def cancel_job(self, job_id):
        self.account.arrive("cancel_job")
        self._require(job_id)
        self.account.cancelled.append(job_id)
        return self.account.answer(True)

    async def stream_logs(self, job_id):
        yield "a line"

    async def fetch_artifact(self, job_id):
        return b""

    async def download_artifact(self, job_id, destination):
        return Path(destination)

    async def list_resources(self):
        return [Resource(id="a100", name="A100")]

    async def get_pricing(self, resource_id):
        if self.account.price is None:
            raise UnsupportedCapability("it tells no prices")
        return PricingInfo(hourly_rate=self.account.price, currency=self.account.currency)

    async def upload_artifact(self, path, metadata):
        self.account.arrive("upload_artifact")
        self.account.uploads.append((path, metadata))
        return self.account.answer("stored")

    async def search_models(self, query):
        return []

    async def get_model_metadata(self, model_id):
        raise JobNotFound(model_id)

    async def download_model(self, model_id, destination):
        return Path(destination)

    async def start_run(self, config):
        self.account.arrive("start_run")
        run_id = f"run-{len(self.account.runs) + 1}"
        self.account.runs[run_id] = ["start"]
        return self.account.answer(run_id)

    async def log_metrics(self, run_id, metrics, step):
        self.account.arrive("log_metrics")
        self.account.runs[run_id].append((step, metrics))
        self.account.answer(None)

    async def log_text(self, run_id, text):
        self.account.arrive("log_text")
        self.account.runs[run_id].append(text)
        self.account.answer(None)

    async def finish_run(self, run_id, status):
        self.account.arrive("finish_run")
        self.account.runs[run_id].append(str(status))
        self.account.answer(None)

    async def get_metrics(self, job_id):
        if not self.account.reads_back:
            raise UnsupportedCapability("it cannot be read")
        return [{"step": row[0], **row[1]} for row in self.account.runs[job_id] if isinstance(row, tuple)]

    async def deploy_model(self, model_id):
        return "endpoint-1"

    async def get_endpoint_url(self, deployment_id):
        return "https://acme.invalid"

    async def invoke_endpoint(self, deployment_id, payload):
        return {}

    async def list_deployments(self):
        return []

    async def stop_deployment(self, deployment_id):
        self.account.arrive("stop_deployment")
        self.account.stopped.append(deployment_id)
        return self.account.answer(True)

    def _require(self, job_id: str) -> None:
        if job_id.removeprefix("pod of ") not in self.account.jobs:
            raise JobNotFound(f"acme knows no {job_id}")


class Other(Acme):
    name = "other"

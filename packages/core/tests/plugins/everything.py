"""A connector with every capability, its platform in memory, for tests of the calls themselves."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from peft_studio import (
    Deployment,
    JobStatus,
    ModelInfo,
    PlatformConnector,
    PricingInfo,
    Rental,
    Resource,
    Run,
    RunBatch,
    RunLine,
    TrainingConfig,
)

CONFIG = TrainingConfig(base_model="someone/model", dataset_path="facts.jsonl")

MODEL = ModelInfo(id="m-1", name="First")
DEPLOYMENT = Deployment(id="d-1", status="running", url="https://d-1.example", model_id="m-1")
METRICS = {"requests": 3}
BATCH = RunBatch(lines=(RunLine(time=datetime(2026, 1, 2, tzinfo=UTC), text="hello"),))
RUN = Run(id="run-1", name="First", status=JobStatus.RUNNING)
RENTAL = Rental(id="pod-1", name="One", kind="machine", status="UP")

#: Every call of the manager about a connector's capabilities: its arguments, and what `Everything` answers.
CALLS: dict[str, tuple[dict[str, Any], Any]] = {
    "verify_connection": ({}, True),
    "get_job_status": ({"job_id": "j-1"}, JobStatus.RUNNING),
    "cancel_job": ({"job_id": "j-1"}, True),
    "pause_job": ({"job_id": "j-1"}, True),
    "resume_job": ({"job_id": "j-1"}, True),
    "find_job": ({"tag": "t-1"}, "j-1"),
    "get_metrics": ({"job_id": "j-1"}, [{"step": 1}]),
    "feed_job": ({"job_id": "j-1", "config": CONFIG, "tell": None}, None),
    "get_job_cost": ({"job_id": "j-1"}, Decimal("1.25")),
    "fetch_artifact": ({"job_id": "j-1"}, b"tar"),
    "download_artifact": ({"job_id": "j-1", "destination": Path("there")}, Path("there")),
    "upload_artifact": ({"path": "adapter", "metadata": {"a": 1}}, "a-1"),
    "list_resources": ({}, [Resource(id="r-1", name="One")]),
    "get_pricing": ({"resource_id": "r-1"}, PricingInfo(resource_id="r-1", hourly_rate="1.5")),
    "search_models": ({"query": "first"}, [MODEL]),
    "get_model_metadata": ({"model_id": "m-1"}, MODEL),
    "download_model": ({"model_id": "m-1", "destination": Path("there")}, Path("there")),
    "start_run": ({"config": {"rank": 8}}, "run-1"),
    "log_metrics": ({"run_id": "run-1", "metrics": {"loss": 1.0}, "step": 1}, None),
    "log_text": ({"run_id": "run-1", "text": "hello"}, None),
    "finish_run": ({"run_id": "run-1", "status": JobStatus.COMPLETED}, None),
    "log_batch": ({"run_id": "run-1", "batch": BATCH}, True),
    "list_runs": ({"project": "lora", "status": JobStatus.FAILED, "search": "first", "limit": 5}, [RUN]),
    "get_run": ({"run_id": "run-1"}, RUN),
    "deploy_model": ({"model_id": "m-1", "gpu": "A10G"}, "d-1"),
    "get_endpoint_url": ({"deployment_id": "d-1"}, "https://d-1.example"),
    "invoke_endpoint": ({"deployment_id": "d-1", "payload": {"prompt": "hi"}}, {"text": "hello"}),
    "list_deployments": ({}, [DEPLOYMENT]),
    "stop_deployment": ({"deployment_id": "d-1"}, True),
    "list_rentals": ({}, [RENTAL]),
    "end_rental": ({"rental_id": "pod-1"}, True),
    "get_deployment_metrics": ({"deployment_id": "d-1"}, METRICS),
}


class Everything(PlatformConnector):
    """Does all that the interface documents, and notes what it is asked."""

    name, display_name, description, version = "everything", "Everything", "All there is", "1.0"
    supports_training = supports_inference = supports_registry = supports_tracking = True

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.credentials: dict[str, str] = {}

    async def connect(self, credentials):
        self.credentials = dict(credentials)
        return True

    async def disconnect(self):
        self.asked.append(("disconnect", {}))

    async def submit_job(self, config):
        return f"job-of-{config.tag}"

    async def stream_logs(self, job_id):
        for line in ("first", "second"):
            yield line


def _answering(name: str) -> Any:
    async def method(self, **arguments):
        self.asked.append((name, arguments))
        return CALLS[name][1]

    return method


for _name in CALLS:
    setattr(Everything, _name, _answering(_name))

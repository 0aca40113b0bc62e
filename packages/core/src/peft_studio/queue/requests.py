"""What can be queued: one function per call of `ConnectorManager` that can wait, named after it.

The key is what makes two requests one. The stream is what keeps their order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft_studio.errors import InvalidConfig
from peft_studio.models import JobStatus, PricingInfo
from peft_studio.queue.limits import Limits, price_of
from peft_studio.queue.operation import NewOperation
from peft_studio.training_config import TrainingConfig

WEEK, MONTH = 7 * 86400.0, 30 * 86400.0


def submit_job(
    connector: str,
    config: TrainingConfig,
    *,
    tag: str,
    price: PricingInfo | None = None,
    limits: Limits | None = None,
) -> NewOperation:
    """Start a job under `tag`. `price` is that of its resource now, where it is known.

    The same config for the same connector is the same operation for as long as it has not been submitted: a script
    that tries again and again while a platform is away queues one job. `limits` win over those in settings.toml.
    """
    values = {name: value for name, value in config.to_dict().items() if name != "tag"}
    payload = {"config": values, "tag": tag, "price": price_of(price)}
    if limits is not None:
        payload["limits"] = limits.to_dict()
    return NewOperation(
        kind="submit_job",
        connector=connector,
        key=f"submit_job:{_digest(values)}",
        stream=f"submit_job:{tag}",
        payload=payload,
        lifetime=WEEK,
    )


def cancel_job(connector: str, job_id: str) -> NewOperation:
    """Stop a job for good; `job_id` is the ledger's. It never expires: until it is done, the job may cost."""
    key = f"cancel_job:{job_id}"
    return NewOperation(
        kind="cancel_job", connector=connector, key=key, stream=key, payload={"job_id": job_id}, is_urgent=True
    )


def stop_deployment(connector: str, deployment_id: str) -> NewOperation:
    """Stop serving, and paying. It never expires."""
    key = f"stop_deployment:{deployment_id}"
    payload = {"deployment_id": deployment_id}
    return NewOperation(
        kind="stop_deployment", connector=connector, key=key, stream=key, payload=payload, is_urgent=True
    )


def upload_artifact(
    connector: str, path: Path | str, metadata: Mapping[str, Any] | None = None, *, key: str | None = None
) -> NewOperation:
    """Upload a file or an adapter folder, as it is now: if it has changed when its turn comes, it is not uploaded.

    With a `key` it is done once; without one the same again is the same operation only as long as it waits.
    """
    file = Path(path).expanduser().absolute()
    content = content_digest(file)
    payload = {"path": str(file), "content": content, "metadata": dict(metadata or {})}
    return NewOperation(
        kind="upload_artifact",
        connector=connector,
        key=key or f"upload_artifact:{_digest(payload)}",
        stream="upload_artifact",
        payload=payload,
        is_once=key is not None,
        lifetime=MONTH,
    )


def start_run(connector: str, run: str, config: Mapping[str, Any]) -> NewOperation:
    """Open a run at a tracker. `run` is any name of yours: the tracker's id is known only once it has been opened."""
    return _of_run("start_run", connector, run, "start", {"config": dict(config)})


def log_metrics(connector: str, run: str, offset: int, metrics: Mapping[str, float], step: int) -> NewOperation:
    """Record metrics of one step. `offset` is the number of this write in the run's journal, from any process."""
    return _of_run("log_metrics", connector, run, str(offset), {"metrics": dict(metrics), "step": step})


def log_text(connector: str, run: str, offset: int, text: str) -> NewOperation:
    """Record a line of console output; `offset` counts together with that of `log_metrics`."""
    return _of_run("log_text", connector, run, str(offset), {"text": text})


def log_events(connector: str, run: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> NewOperation:
    """Record what the log of the job `run` tells between two places (`tracking.Place`): nobody else queues the same."""
    return _of_run(
        "log_events", connector, run, f"events:{before['through']}", {"before": dict(before), "after": dict(after)}
    )


def finish_run(connector: str, run: str, status: JobStatus, *, after: int = 0) -> NewOperation:
    """Close a run. One that goes on later may be closed again `after` more has happened in it: its number then."""
    return _of_run("finish_run", connector, run, f"finish:{after}:{status}", {"status": str(status)})


def start_key(run: str) -> str:
    """Key of the operation whose result is the tracker's id of the run."""
    return f"run:{run}:start"


def run_stream(run: str) -> str:
    """Stream of everything that is written to a run."""
    return f"run:{run}"


def content_digest(path: Path) -> str:
    """SHA-256 over a file, or over the names and contents of a folder. Raises `InvalidConfig`."""
    files = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    total = hashlib.sha256()
    try:
        for file in files:
            name = file.relative_to(path).as_posix() if path.is_dir() else file.name
            with file.open("rb") as opened:
                content = hashlib.file_digest(opened, "sha256").hexdigest()
            total.update(f"{content} {name}\n".encode())
    except OSError as error:
        raise InvalidConfig(f"{path} cannot be uploaded", why=error.strerror) from error
    return total.hexdigest()


def _of_run(kind: str, connector: str, run: str, write: str, payload: Mapping[str, Any]) -> NewOperation:
    return NewOperation(
        kind=kind,
        connector=connector,
        key=f"run:{run}:{write}",
        stream=run_stream(run),
        payload={"run": run, **payload},
        is_once=True,
        lifetime=MONTH,
    )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:32]

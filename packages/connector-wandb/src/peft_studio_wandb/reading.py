"""Runs as W&B tells them, in our words, and our questions about them in W&B's."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from peft_studio import JobStatus, Run
from peft_studio_wandb.paths import RunPath

#: W&B's words for how a run is, and ours. Another word is told as unknown.
STATES: Final = {
    "pending": JobStatus.PENDING,
    "running": JobStatus.RUNNING,
    "finished": JobStatus.COMPLETED,
    "failed": JobStatus.FAILED,
    "crashed": JobStatus.FAILED,
    "killed": JobStatus.CANCELLED,
    "preempting": JobStatus.PAUSED,
    "preempted": JobStatus.PAUSED,
}


def run_of(told: Mapping[str, Any], path: RunPath, page: str) -> Run:
    """What W&B tells of a run; `page` is where its pages are."""
    config = told.get("config")
    begun, heard = (_time(told.get(name)) for name in ("createdAt", "heartbeatAt"))
    return Run(
        id=str(path), name=told.get("displayName") or path.name, project=path.project, status=status_of(told),
        created=begun, duration=(heard - begun).total_seconds() if begun and heard else None,
        url=f"{page}/{quote(path.entity)}/{quote(path.project)}/runs/{quote(path.name)}",
        config=None if config is None else _unwrapped(config), summary=_summary(told), tags=told.get("tags") or (),
    )  # fmt: skip


def status_of(told: Mapping[str, Any]) -> JobStatus | None:
    """How a run is. One that was cancelled has failed in W&B's words; its summary tells."""
    if told.get("state") == "failed" and _summary(told).get("job_status") == JobStatus.CANCELLED:
        return JobStatus.CANCELLED
    return STATES.get(str(told.get("state")))


def last_step(told: Mapping[str, Any]) -> int:
    """Where the rows of a run end, -1 for none: W&B's list of keys is behind at times, and so is the summary."""
    keys, summary = told.get("historyKeys") or {}, json.loads(told.get("summaryMetrics") or "{}")
    return max(int(keys.get("lastStep", -1)), int(summary.get("_step", -1)))


def filters_for(status: JobStatus | None, search: str | None, more: Mapping[str, Any] | None) -> str | None:
    """The filters of W&B's server, as MongoDB writes them.

    Who asks for one status may get runs of another: cancelled and failed ones are told apart by `status_of` alone.
    """
    wanted: list[Mapping[str, Any]] = [] if more is None else [more]
    if status is not None:
        alike = (JobStatus.CANCELLED, JobStatus.FAILED)
        meant = alike if status in alike else (status,)
        wanted.append({"state": {"$in": [state for state, told in STATES.items() if told in meant]}})
    if search:
        pattern = {"$regex": f"(?i){re.escape(search)}"}
        wanted.append({"$or": [{"displayName": pattern}, {"name": pattern}]})
    return json.dumps({"$and": wanted}) if wanted else None


def _summary(told: Mapping[str, Any]) -> dict[str, Any]:
    summary = json.loads(told.get("summaryMetrics") or "{}")
    return {name: value for name, value in summary.items() if not name.startswith("_")}


def _unwrapped(config: str) -> dict[str, Any]:
    """A config without W&B's own part; each value stands in an object of its own."""
    values = json.loads(config or "{}")
    own = {name: value for name, value in values.items() if not name.startswith("_")}
    return {
        name: value["value"] if isinstance(value, dict) and "value" in value else value for name, value in own.items()
    }


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    time = datetime.fromisoformat(text)
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)

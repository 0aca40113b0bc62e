"""Where the adapters of jobs come home to, and which are there."""

from __future__ import annotations

from pathlib import Path

from peft_studio.artifacts import MANIFEST_NAME, verify
from peft_studio.errors import InvalidConfig
from peft_studio.ledger import JobRecord
from peft_studio.models import JobStatus
from peft_studio.paths import data_dir


def home_of(job: JobRecord) -> Path:
    """Where a job's adapter belongs: its output_dir, or a folder of the data directory."""
    chosen = job.config.get("output_dir")
    return data_dir() / "adapters" / job.id if chosen is None else Path(chosen).expanduser().absolute()


def kept_adapter(job: JobRecord) -> Path | None:
    """The adapter of a completed job where `finish` has put it, whole; None when it is not there."""
    folder = home_of(job)
    if job.status is not JobStatus.COMPLETED or not (folder / MANIFEST_NAME).is_file():
        return None
    try:
        verify(folder)
    except InvalidConfig:  # the user has changed it: the platform may still have it as it was
        return None
    return folder

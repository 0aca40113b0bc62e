"""Where the adapters of jobs come home to, and which are there."""

from __future__ import annotations

from pathlib import Path

from peft_studio.artifacts import MANIFEST_NAME, verify
from peft_studio.errors import InvalidConfig
from peft_studio.ledger import JobRecord, Ledger
from peft_studio.models import JobStatus
from peft_studio.paths import data_dir


def home_of(job: JobRecord) -> Path:
    """Where a job's adapter belongs: its output_dir, or a folder of the data directory."""
    return _homes(job)[0]


def free_home(job: JobRecord) -> Path:
    """Where it can go: another job, or its user, may have filled the output_dir meanwhile."""
    homes = _homes(job)
    return next((folder for folder in homes if not is_filled(folder)), homes[-1])


def kept_adapter(ledger: Ledger, job: JobRecord) -> Path | None:
    """The adapter of a completed job where it has come home to, whole; None when it is not there."""
    if job.status is not JobStatus.COMPLETED:
        return None
    made = _made(ledger, job)
    return next((folder for folder in _homes(job) if is_filled(folder) and _is_it(folder, made)), None)


def is_filled(folder: Path) -> bool:
    """True when something lies in it."""
    return folder.is_dir() and any(folder.iterdir())


def _homes(job: JobRecord) -> tuple[Path, ...]:
    kept, chosen = data_dir() / "adapters" / job.id, job.config.get("output_dir")
    return (kept,) if chosen is None else (Path(chosen).expanduser().absolute(), kept)


def _made(ledger: Ledger, job: JobRecord) -> str | None:
    """sha256 of the manifest that the job's own log tells of; None for a log without one."""
    told = [event.data.get("manifest_sha256") for event in ledger.events(job.id) if event.type == "artifact"]
    return told[-1] if told else None


def _is_it(folder: Path, made: str | None) -> bool:
    if made is None:
        return True
    if not (folder / MANIFEST_NAME).is_file():
        return False
    try:
        return verify(folder).sha256 == made
    except InvalidConfig:  # changed since: the platform may still have it as it was
        return False

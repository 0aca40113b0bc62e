"""Start and restart jobs: make the job's folder, hand its lock to a supervisor of its own session."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path

import attrs

from peft_studio.errors import InvalidConfig, PlatformError
from peft_studio.models import Problem
from peft_studio.training_config import TrainingConfig
from peft_studio_worker.job_folder import JobFolder
from peft_studio_worker.supervisor import claim_output, release_output
from peft_studio_worker.training.datasets import read_rows
from peft_studio_worker.training.formats import read_records

#: Datasets up to this size are read before the job starts, bytes.
READ_AT_ONCE = 64 * 2**20
#: A viewer that looks whether a job lives holds its lock for a moment, seconds.
GLANCE = 0.2
#: Imported by the trainer; looked for before a job starts rather than after.
TRAINER_PACKAGES = ("torch", "transformers", "peft")


def check(config: TrainingConfig) -> None:
    """Refuse what can be seen to fail before anything is written. Raises `InvalidConfig` with every problem."""
    problems = [*_model_problems(config), *_output_problems(config)]
    if problems:
        raise InvalidConfig.from_problems("this job cannot start", problems)
    _check_dataset(Path(config.dataset_path).expanduser())
    interpreter()
    missing = [name for name in TRAINER_PACKAGES if find_spec(name) is None]
    if missing:
        raise PlatformError(
            f"the trainer's packages are not installed ({', '.join(missing)})",
            remedy="pip install 'peft-studio-local[train]'",
        )


def create(jobs: Path, job_id: str, config: TrainingConfig, hourly_rate: Decimal) -> JobFolder:
    """Make the folder of a new job, complete or not at all. Raises `InvalidConfig` and `PlatformError`."""
    folder = JobFolder(jobs / job_id)
    output = config.output_path
    try:
        folder.path.mkdir(parents=True, mode=0o700)
        if output is not None:
            claim_output(output, job_id)
        folder.inputs.mkdir()
        dataset = _take_in(Path(config.dataset_path).expanduser(), folder.inputs)
        local = attrs.evolve(
            config,
            base_model=_absolute_model(config),
            dataset_path=f"inputs/{dataset.name}",
            dataset_name=config.told_dataset_name,
        )
        created = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        folder.write_job(
            {
                "id": job_id,
                "created": created,
                "hourly_rate": str(hourly_rate),
                "dataset": config.dataset_path,
                "config": local.to_dict(),
            }
        )
    except FileExistsError as error:
        _undo(folder, output)
        raise InvalidConfig(f"output folder {output} is not empty", remedy="choose a new folder") from error
    except OSError as error:
        _undo(folder, output)
        where = error.filename or folder.path
        raise PlatformError(f"the job could not be written to {where}", why=error.strerror) from error
    return folder


def start(folder: JobFolder) -> None:
    """Start a supervisor that outlives this process. Raises `PlatformError` when the job is running already."""
    lock = folder.take_lock(patience=GLANCE)
    if lock is None:
        raise PlatformError(f"job {folder.id} is running already")
    try:
        with folder.supervisor_log.open("ab") as last_words:
            worker = [interpreter(), "-m", "peft_studio_worker"]
            subprocess.run(
                [*worker, "supervise", str(folder.path), "--lock-fd", str(lock), "--detach"],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=last_words,
                stderr=last_words,
                cwd=folder.path,
                env=_environment(folder.read_config()),
                pass_fds=(lock,),
                start_new_session=True,
            )
    except subprocess.CalledProcessError as error:
        said = folder.supervisor_log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise PlatformError("the supervisor did not start", why=said[-1] if said else str(error)) from error
    finally:
        os.close(lock)


def interpreter() -> str:
    """The Python that runs the worker. Raises `PlatformError` in a frozen program, which would start itself again."""
    if getattr(sys, "frozen", False):
        remedy = "run the program from Python, or train with another connector"
        raise PlatformError("a frozen program has no Python that could train", remedy=remedy)
    return sys.executable


def _environment(config: TrainingConfig) -> dict[str, str]:
    """The job sees the device it was given and no other."""
    environment = dict(os.environ)
    if config.resource_id == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    elif config.resource_id is not None:
        environment["CUDA_VISIBLE_DEVICES"] = config.resource_id.removeprefix("cuda:")
    return environment


def _check_dataset(path: Path) -> None:
    """Read a dataset as the trainer will, so that its faults are told now; a large one is left to the trainer."""
    if not path.is_file() or path.stat().st_size <= READ_AT_ONCE:
        read_records(read_rows(path), path)


def _model_problems(config: TrainingConfig) -> list[Problem]:
    """A base model that reads like a path must be there; anything else may be a hub id."""
    given = config.base_model
    looks_local = given.startswith((".", "/", "~")) or given.endswith(".gguf")
    if (looks_local or config.model_source in ("local", "gguf")) and not Path(given).expanduser().exists():
        return [Problem(field="base_model", message=f"base model {given} does not exist")]
    return []


def _output_problems(config: TrainingConfig) -> list[Problem]:
    output = config.output_path
    if output is None or not output.exists():
        return []
    if not output.is_dir():
        return [Problem(field="output_dir", message=f"output folder {output} is a file")]
    if any(output.iterdir()):
        return [Problem(field="output_dir", message=f"output folder {output} is not empty; choose a new folder")]
    return []


def _absolute_model(config: TrainingConfig) -> str:
    path = Path(config.base_model).expanduser()
    is_here = config.model_source != "huggingface" and path.exists()
    return os.path.normpath(path.absolute()) if is_here else config.base_model


def _take_in(dataset: Path, inputs: Path) -> Path:
    """Copy the data under the name of its content: what the user does to the original later changes nothing."""
    digest = hashlib.sha256()
    draft = inputs / ".incoming"
    with dataset.open("rb") as source, draft.open("wb") as target:
        while block := source.read(1 << 20):
            digest.update(block)
            target.write(block)
    return draft.rename(inputs / f"{digest.hexdigest()[:16]}{dataset.suffix}")


def _undo(folder: JobFolder, output: Path | None) -> None:
    """Leave nothing of a job that never began; what was there before stays."""
    shutil.rmtree(folder.path, ignore_errors=True)
    if output is not None:
        release_output(output, folder.id)

"""The plot of one run: read, check, load, train, save."""

from __future__ import annotations

import json
import math
import threading
import time
from pathlib import Path

import torch
from attrs import frozen

from peft_studio.artifacts import Manifest, verify
from peft_studio.errors import InvalidConfig, NotEnoughMemory
from peft_studio.training_config import TrainingConfig
from peft_studio_worker.training import algorithms, artifact, base_model, datasets, examples, formats, model, precision
from peft_studio_worker.training.artifact import Made
from peft_studio_worker.training.base_model import BaseModel
from peft_studio_worker.training.loop import Loop
from peft_studio_worker.training.preparation import Data, Prepared, prepare, versions
from peft_studio_worker.training.reporting import Report, say


@frozen
class Session:
    """A job that is ready to train."""

    folder: Path
    config: TrainingConfig
    base: BaseModel
    data: Data
    prepared: Prepared


def train_job(folder: Path, report: Report, stop: threading.Event) -> bool:
    """Train the job in `folder` from its newest checkpoint. True when the artifact is in place, False when stopped.

    Raises `InvalidConfig`, `NotEnoughMemory`, `UnsupportedCapability` or `ConnectionFailed` for what cannot be trained.
    """
    started = time.monotonic()
    if (folder / "artifact").is_dir():  # the supervisor died between the rename and its last word
        _report_artifact(folder, verify(folder / "artifact"), report)
        return True
    session = open_session(folder, report)
    report("phase", name="training")
    if not _train(session.prepared.loop, stop, started):
        return False
    report("phase", name="saving")
    _report_artifact(folder, _save(session), report)
    return True


def open_session(folder: Path, report: Report) -> Session:
    """Check and load everything that the job in `folder` needs. Raises as `train_job`."""
    config = read_config(folder)
    algorithms.check(config)
    for name in algorithms.ignored_settings(config):
        say(report, f"{config.algorithm} has no {name}; the setting is not used", level="warning")
    torch.set_num_threads(precision.threads())

    path = folder / config.dataset_path
    report("phase", name="reading_dataset", detail=path.name)
    records = _read(path, report)
    base = base_model.locate(config.base_model, config.model_source, report)
    _remember(base, report)
    data = _tokenise(config, base, records, path, report)
    return Session(folder, config, base, data, prepare(config, base, data, folder / "checkpoints", report))


def read_config(folder: Path) -> TrainingConfig:
    """The config of the job in `folder`. Raises `InvalidConfig` when there is none."""
    path = folder / "job.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return TrainingConfig.from_dict(document["config"])
    except FileNotFoundError as error:
        raise InvalidConfig(f"{folder} is not a job folder", why="it has no job.json") from error
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise InvalidConfig(f"{path} cannot be read", why=str(error)) from error


def _read(path: Path, report: Report) -> list[formats.Record]:
    rows = datasets.read_rows(path)
    records, chosen = formats.read_records(rows, path)
    say(report, f"{len(rows)} rows in the {chosen.name} format")
    unused = formats.unused_columns(rows, chosen)
    if unused:
        say(report, f"columns that the format does not use: {', '.join(unused)}")
    return records


def _tokenise(
    config: TrainingConfig, base: BaseModel, records: list[formats.Record], path: Path, report: Report
) -> Data:
    tokenizer = model.load_tokenizer(base.folder)
    if tokenizer.chat_template is None and any(record.messages for record in records):
        tokenizer.chat_template = examples.PLAIN_TEMPLATE
        say(report, "the model has no chat template; a plain one is used and saved with the adapter", level="warning")
    every = examples.tokenise(
        records, tokenizer, path, max_length=config.max_seq_length, completion_only=config.completion_only_loss
    )
    training, validation = examples.split(every, config.validation_split, config.seed)
    return Data(training, validation, tokenizer)


def _remember(base: BaseModel, report: Report) -> None:
    try:
        base_model.remember(base)
    except OSError as error:  # the run does not need it, only later chats
        say(report, f"where the base model lies cannot be noted: {error}", level="warning")


def _save(session: Session) -> Manifest:
    loop = session.prepared.loop
    made = Made(
        config=session.config, base=session.base, model=loop.model, tokenizer=session.data.tokenizer,
        progress=loop.progress, examples=len(session.data.training), tokens_per_epoch=loop.plan.tokens_per_epoch,
        versions=versions(), start=session.prepared.start,
    )  # fmt: skip
    return artifact.write(made, session.folder / "artifact")


def _report_artifact(folder: Path, manifest: Manifest, report: Report) -> None:
    report("artifact", path=str(folder / "artifact"), size=manifest.size, manifest_sha256=manifest.sha256)


def _train(loop: Loop, stop: threading.Event, started: float) -> bool:
    try:
        return loop.run(stop, started + (loop.config.max_duration or math.inf))
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise _out_of_memory(error) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):  # torch's words for it on a CPU
            raise
        raise _out_of_memory(error) from error


def _out_of_memory(error: BaseException) -> NotEnoughMemory:
    return NotEnoughMemory(
        "the machine ran out of memory while training",
        why=str(error).split("\n", 1)[0][:200] or None,
        remedy="lower batch_size or max_seq_length, or set gradient_checkpointing to true",
    )

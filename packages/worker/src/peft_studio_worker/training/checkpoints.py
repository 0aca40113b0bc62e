"""Checkpoints: everything a run needs to go on as if it had never stopped.

A folder `step-<8 digits>` is complete or not there: it is written under another name, forced to the disk, and renamed.
It holds tensors as safetensors and numbers as JSON; no pickle. There is no random state in it, for randomness is a
function of seed and step.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from attrs import asdict, define, field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from peft_studio.errors import InvalidConfig

#: How many are kept; the one before the newest is for the case that a disk lied.
KEPT: Final = 2
#: Points of the loss curve that are kept at most.
CURVE: Final = 64
_FORMAT: Final = 1


@define
class Progress:
    """How far a run is, and what it has seen."""

    step: int = 0
    #: Tokens of all examples seen, without padding.
    tokens: int = 0
    first_loss: float | None = None
    last_loss: float | None = None
    #: Validation losses as [step, loss].
    evaluations: list[list[float]] = field(factory=list)
    #: Training losses as [step, loss]: of each step at first, of every second one when they become many, and so on.
    losses: list[list[float]] = field(factory=list)
    stride: int = 1
    #: Time spent in steps, over all runs, seconds.
    seconds: float = 0.0

    def note_loss(self, loss: float) -> None:
        """Keep the loss of this step, where it is one of those that are kept."""
        self.last_loss = loss
        self.first_loss = loss if self.first_loss is None else self.first_loss
        if self.step % self.stride == 0:
            self.losses.append([self.step, loss])
        if len(self.losses) > CURVE:
            self.stride *= 2
            self.losses = [point for point in self.losses if point[0] % self.stride == 0]


def save(folder: Path, progress: Progress, tensors: Mapping[str, torch.Tensor]) -> Path:
    """Write the checkpoint of `progress.step` under `folder`, and remove all but the newest ones.

    Raises `InvalidConfig` when the disk is full or not writable; older checkpoints are then as they were.
    """
    target = folder / f"step-{progress.step:08d}"
    partial = folder / f".{target.name}.partial"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial / "tensors.safetensors")
        state = json.dumps({"format": _FORMAT, **asdict(progress)})
        (partial / "state.json").write_text(state, encoding="utf-8")
        force_to_disk(partial)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
        _sync(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise not_written(f"the checkpoint of step {progress.step}", folder, error) from error
    for old in _complete(folder)[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
    return target


def newest(folder: Path) -> Path | None:
    """The newest complete checkpoint under `folder`."""
    found = _complete(folder)
    return found[-1] if found else None


def load(checkpoint: Path) -> tuple[Progress, dict[str, torch.Tensor]]:
    """Read a checkpoint. Raises `InvalidConfig` when it is damaged or of another version."""
    try:
        state: dict[str, Any] = json.loads((checkpoint / "state.json").read_text(encoding="utf-8"))
        if state.pop("format") != _FORMAT:
            raise InvalidConfig(f"checkpoint {checkpoint} was written by another version of the trainer")
        return Progress(**state), load_file(checkpoint / "tensors.safetensors")
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        if isinstance(error, InvalidConfig):
            raise
        raise InvalidConfig(
            f"checkpoint {checkpoint} is damaged", why=str(error), remedy="remove it to go on from an earlier one"
        ) from error


def not_written(what: str, folder: Path, error: Exception) -> InvalidConfig:
    """The error for something that could not be stored."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return InvalidConfig(
        f"{what} cannot be written to {folder}",
        why=reason,
        remedy="make room or mend the permissions, then resume the job",
    )


def force_to_disk(folder: Path) -> None:
    """Wait until every file under `folder` is on the disk, and readable for whoever may read the folder."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o644)  # safetensors writes 0600, which locks out another user of a container
            _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows does not open folders
        return
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _complete(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("step-*") if (path / "state.json").is_file())

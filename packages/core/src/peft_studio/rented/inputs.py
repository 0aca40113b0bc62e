"""What a job needs beside its config: files that travel under the name of their content.

The dataset always does; a base model only when it lies on this machine, for what has a name on a hub is fetched there.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any, Final, NoReturn, Self

import attrs
from attrs import frozen

from peft_studio.errors import InvalidConfig
from peft_studio.models import Problem
from peft_studio.training_config import TrainingConfig

#: Bytes that are read at once.
_BLOCK: Final = 2**20
#: What a model folder is made of; pickled weights and code are neither needed nor wanted.
_MODEL_FILES: Final = {".safetensors", ".json", ".jinja", ".model", ".txt"}


@frozen
class Input:
    """One file, as it is when the job is submitted."""

    path: Path
    #: In hex.
    sha256: str
    #: Bytes.
    size: int
    #: Its place under `inputs/` on the machine, with `/`; None for one that is called by its content.
    place: str | None = None

    @classmethod
    def of(cls, path: Path, place: str | None = None) -> Self:
        """Read the whole file. Raises `InvalidConfig` when it cannot be read."""
        try:
            with path.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
                size = content.tell()
        except OSError as error:
            raise InvalidConfig(f"{path} cannot be read", why=error.strerror) from error
        return cls(path, digest, size, place)

    @property
    def suffix(self) -> str:
        """What tells the trainer the format: `.jsonl`, `.csv`."""
        return self.path.suffix

    @property
    def name(self) -> str:
        """Where the config of the job finds it on the machine."""
        return f"inputs/{self.place or self.sha256 + self.suffix}"

    def to_dict(self) -> dict[str, Any]:
        """As the worker wants to be told of it."""
        document: dict[str, Any] = {"sha256": self.sha256, "size": self.size}
        return {**document, "suffix": self.suffix} if self.place is None else {**document, "place": self.place}

    async def content(self, start: int, end: int) -> AsyncGenerator[bytes]:
        """The bytes from `start` to before `end`. Raises `InvalidConfig` when the file has become shorter."""
        with self.path.open("rb") as file:
            file.seek(start)
            while start < end:
                block = await asyncio.to_thread(file.read, min(_BLOCK, end - start))
                if not block:
                    raise InvalidConfig(f"{self.path} has become shorter while it was uploaded")
                start += len(block)
                yield block


def inputs_of(config: TrainingConfig) -> tuple[TrainingConfig, tuple[Input, ...]]:
    """The config as the machine will read it, and the files that it then needs. Raises `InvalidConfig`."""
    dataset = Input.of(Path(config.dataset_path).expanduser())
    there = attrs.evolve(config, dataset_path=dataset.name, dataset_name=config.told_dataset_name, output_dir=None)
    model = local_model(config)
    if model is None:
        return there, (dataset,)
    root = f"model/{model.name}"
    files = [Input.of(path, f"{root}{place}") for path, place in _files_of(model)]
    return attrs.evolve(there, base_model=f"inputs/{root}"), (dataset, *files)


def check_inputs(config: TrainingConfig) -> None:
    """Raise `InvalidConfig` unless everything that would be uploaded is there, before anything is paid for."""
    dataset = Path(config.dataset_path).expanduser()
    if not dataset.is_file():
        problem = Problem(field="dataset_path", message=f"dataset_path {dataset} is not a file of this machine")
        raise InvalidConfig.from_problems("training config", [problem])
    model = local_model(config)
    if model is not None and not list(_files_of(model)):
        problem = Problem(field="base_model", message=f"base_model {model} has no config.json and safetensors weights")
        raise InvalidConfig.from_problems("training config", [problem])


def local_model(config: TrainingConfig) -> Path | None:
    """Where the base model lies on this machine; None for one that is fetched from a hub. Raises `InvalidConfig`."""
    path = Path(config.base_model).expanduser()
    if config.model_source == "huggingface" or (config.model_source == "auto" and not path.exists()):
        return None if not config.base_model.startswith((".", "/", "~")) else _missing(path)
    return path.absolute() if path.exists() else _missing(path)


def _missing(path: Path) -> NoReturn:
    problem = Problem(field="base_model", message=f"base_model {path} is not on this machine")
    raise InvalidConfig.from_problems("training config", [problem])


def _files_of(model: Path) -> Iterator[tuple[Path, str]]:
    """The files of a model folder, or the one file, each with what is appended to its folder's place."""
    if model.is_file():
        yield model, ""
        return
    if not (model / "config.json").is_file() or not any(model.glob("*.safetensors")):
        return
    for path in sorted(model.iterdir()):
        if path.is_file() and path.suffix.lower() in _MODEL_FILES and not path.name.startswith("."):
            yield path, f"/{path.name}"

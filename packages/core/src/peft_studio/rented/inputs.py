"""What a job needs beside its config: files that travel under the name of their content."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any, Final, Self

import attrs
from attrs import frozen

from peft_studio.errors import InvalidConfig
from peft_studio.training_config import TrainingConfig

#: Bytes that are read at once.
_BLOCK: Final = 2**20


@frozen
class Input:
    """One file, as it is when the job is submitted."""

    path: Path
    #: In hex.
    sha256: str
    #: Bytes.
    size: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """Read the whole file. Raises `InvalidConfig` when it cannot be read."""
        try:
            with path.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
                size = content.tell()
        except OSError as error:
            raise InvalidConfig(f"dataset {path} cannot be read", why=error.strerror) from error
        return cls(path, digest, size)

    @property
    def suffix(self) -> str:
        """What tells the trainer the format: `.jsonl`, `.csv`."""
        return self.path.suffix

    @property
    def name(self) -> str:
        """Where the config of the job finds it on the machine."""
        return f"inputs/{self.sha256}{self.suffix}"

    def to_dict(self) -> dict[str, Any]:
        """As the worker wants to be told of it."""
        return {"sha256": self.sha256, "size": self.size, "suffix": self.suffix}

    async def content(self, start: int, end: int) -> AsyncGenerator[bytes]:
        """The bytes from `start` to before `end`. Raises `InvalidConfig` when the file has become shorter."""
        with self.path.open("rb") as file:
            file.seek(start)
            while start < end:
                block = await asyncio.to_thread(file.read, min(_BLOCK, end - start))
                if not block:
                    raise InvalidConfig(f"dataset {self.path} has become shorter while it was uploaded")
                start += len(block)
                yield block


def inputs_of(config: TrainingConfig) -> tuple[TrainingConfig, tuple[Input, ...]]:
    """The config as the machine will read it, and the files that it then needs. Raises `InvalidConfig`."""
    dataset = Input.of(Path(config.dataset_path).expanduser())
    there = attrs.evolve(config, dataset_path=dataset.name, output_dir=None)
    return there, (dataset,)

"""What a finished job leaves: files on the disk, so that they can be of any size and are served in blocks."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from peft_studio.artifacts import MANIFEST_NAME, pack, write_manifest

#: Content of a file: itself, its size for made-up content, what gives it block by block, or a file to copy.
Content = bytes | int | Callable[[], Iterable[bytes]] | Path

_BLOCK: Final = 1 << 20


class Files(Mapping[str, bytes]):
    """The files of a folder by relative path, with `/` as separator. Looking one up reads it whole."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """The file itself. Raises `KeyError`."""
        if self.folder is None or name not in set(self):
            raise KeyError(name)
        return self.folder / name

    def archive(self) -> bytes:
        """All files as one uncompressed tar, for platforms that deliver an artifact so."""
        if self.folder is None:
            raise KeyError("there are no files yet")
        return pack(self.folder)

    def __getitem__(self, name: str) -> bytes:
        return self.path(name).read_bytes()

    def __iter__(self) -> Iterator[str]:
        found = [] if self.folder is None else self.folder.rglob("*")
        return iter(sorted(path.relative_to(self.folder).as_posix() for path in found if path.is_file()))  # type: ignore[arg-type]  # no folder, nothing found

    def __len__(self) -> int:
        return len(list(iter(self)))


def write_files(folder: Path, files: Mapping[str, Content]) -> None:
    """Write `files` into `folder`, and a manifest unless one is among them. Raises `ValueError` for a path outside."""
    for name, content in files.items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ValueError(f"{name!r} is not a path inside the artifact")
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            file.writelines(_blocks(content))
    if MANIFEST_NAME not in files:
        write_manifest(folder)


def example_adapter() -> dict[str, bytes]:
    """A small LoRA adapter that PEFT itself can read."""
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": "sandbox/tiny",
        "r": 2,
        "lora_alpha": 4,
        "lora_dropout": 0.0,
        "target_modules": ["q_proj"],
        "bias": "none",
        "inference_mode": True,
    }
    layer = "base_model.model.model.layers.0.self_attn.q_proj"
    weights = {f"{layer}.lora_A.weight": (2, 8), f"{layer}.lora_B.weight": (8, 2)}
    return {
        "adapter_config.json": json.dumps(config, indent=2).encode(),
        "adapter_model.safetensors": _safetensors(weights),
    }


def _safetensors(shapes: Mapping[str, tuple[int, int]]) -> bytes:
    """The format of https://github.com/huggingface/safetensors: length of the header, header, data."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for name, (rows, columns) in shapes.items():
        values = [(number % 7 - 3) / 8 for number in range(rows * columns)]
        start, data = len(data), data + struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": [rows, columns], "data_offsets": [start, len(data)]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def _blocks(content: Content) -> Iterable[bytes]:
    if isinstance(content, bytes):
        return [content]
    if isinstance(content, int):
        return _made_up(content)
    return _read(content) if isinstance(content, Path) else content()


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


def _made_up(size: int) -> Iterator[bytes]:
    """Every block is different, so that one in the wrong place is seen; the same size gives the same bytes."""
    source = random.Random(size)  # noqa: S311 -- filling, not a secret
    for start in range(0, size, _BLOCK):
        yield source.randbytes(min(_BLOCK, size - start))

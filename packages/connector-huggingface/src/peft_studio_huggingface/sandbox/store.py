"""Where the bytes are: files on the disk under the name of their content, so that they can be of any size."""

from __future__ import annotations

import hashlib
import secrets
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

from peft_studio_huggingface.sandbox.git import object_id


class Writer:
    """A file that is being received, block by block; it is nowhere until it is kept."""

    def __init__(self, path: Path, *, is_part: bool = False) -> None:
        self.path = path
        self.size = 0
        #: sha256, or of a part of an upload the md5 by which object storage names it.
        self.digest = hashlib.md5(usedforsecurity=False) if is_part else hashlib.sha256()

    def __enter__(self) -> Self:
        self._file = self.path.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is not None:
            self.path.unlink(missing_ok=True)

    def write(self, block: bytes) -> None:
        """Append."""
        self._file.write(block)
        self.digest.update(block)
        self.size += len(block)


class Store:
    """Content by name: the git sha1 of what lies in git, the sha256 of what lies in LFS."""

    def __init__(self) -> None:
        self.root = Path()

    def open(self, root: Path) -> None:
        """Begin empty in that folder."""
        shutil.rmtree(root, ignore_errors=True)
        (root / "parts").mkdir(parents=True)
        self.root = root

    def path(self, name: str) -> Path:
        """Where that content is, if it is there."""
        return self.root / name

    def part(self, upload: str, number: int) -> Path:
        """Where one part of an upload is, if it is there."""
        return self.root / "parts" / f"{upload}-{number}"

    def has(self, name: str, size: int) -> bool:
        """True when that content is there, and of that size."""
        path = self.path(name)
        return path.is_file() and path.stat().st_size == size

    def writer(self) -> Writer:
        """A way in for content whose name is not proved yet."""
        return Writer(self.root / f"incoming-{secrets.token_hex(8)}")

    def keep(self, writer: Writer) -> None:
        """It is what it should be: take it as LFS content."""
        writer.path.replace(self.path(writer.digest.hexdigest()))

    def add(self, content: bytes, *, is_lfs: bool = False) -> str:
        """Keep content that is at hand, and give its name."""
        name = hashlib.sha256(content).hexdigest() if is_lfs else object_id("blob", content)
        self.path(name).write_bytes(content)
        return name

"""A file that arrives: `<file>.part` beside it, and a note of which version of it the part belongs to.

It appears under its final name whole and verified, in one rename, or not at all. The part is locked: of two downloads
to one place the second is refused, instead of both writing what is no file.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from attrs import asdict, frozen

from peft_studio._file_lock import try_lock
from peft_studio.errors import InvalidConfig

#: Bytes that are read at once: larger blocks cost memory, smaller ones time.
_BLOCK = 2**20
#: Bytes that are written at once. The system caches them in a piece of memory as large as that. On a virtual machine
#: the host has often taken back the large pieces that are free, and each costs a fault there: 1 s per GB in all.
_WRITTEN = 2**16
#: What a file system says that knows no locks, such as some network file systems.
_LOCKLESS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@frozen
class Version:
    """Which content an address had when its download began; None where the platform did not say."""

    #: Digest of the address: the part of one file is no beginning of another.
    source: str
    etag: str | None = None
    last_modified: str | None = None
    #: Bytes of the whole file.
    size: int | None = None

    @property
    def validator(self) -> str | None:
        """What If-Range takes: a weak ETag promises nothing about bytes."""
        if self.etag is not None and not self.etag.startswith("W/"):
            return self.etag
        return self.last_modified

    def may_be(self, other: Version) -> bool:
        """False when something says that the content is another."""
        pairs = ((self.etag, other.etag), (self.last_modified, other.last_modified), (self.size, other.size))
        return all(None in pair or pair[0] == pair[1] for pair in pairs)


class PartFile:
    """The bytes that have arrived. Raises `InvalidConfig` with the path where the disk refuses."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.path = file.with_name(f"{file.name}.part")
        self._note = file.with_name(f"{file.name}.part.json")
        self._content: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self.size = 0

    def open(self, source: str) -> Version | None:
        """Which version an earlier call has left a part of; None when there is nothing to go on with."""
        with self._disk():
            if self.file.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not self.path.is_file():
                return None
            content, version = self._held(), self._noted()
            if version is None or version.source != source:
                return None
            content.seek(0)
            while block := content.read(_BLOCK):
                self._digest.update(block)
                self.size += len(block)
            return version

    def restart(self, version: Version) -> None:
        """Throw away what has arrived; what comes now belongs to `version`."""
        with self._disk():
            self.file.parent.mkdir(parents=True, exist_ok=True)
            content = self._held()
            self._note.write_text(json.dumps(asdict(version)), encoding="utf-8")
            if content.seek(0, os.SEEK_END):  # ext4 writes a file that was ever truncated to the disk when it is closed
                content.truncate(0)
            self._digest = hashlib.sha256()
            self.size = 0

    def append(self, block: bytes | memoryview) -> None:
        """Write the next bytes."""
        with self._disk():
            assert self._content is not None
            left = memoryview(block)
            while left:
                left = left[self._content.write(left[:_WRITTEN]) :]
            self._digest.update(block)
            self.size += len(block)

    @property
    def sha256(self) -> str:
        """Of all that has arrived, in hex."""
        return self._digest.hexdigest()

    def finish(self) -> None:
        """Move it to its final name."""
        with self._disk():
            if self.path.stat().st_size != self.size:
                raise InvalidConfig(f"{self.path} was changed by another program", remedy="download it again")
            self._note.unlink(missing_ok=True)
            if sys.platform == "win32":  # what is open cannot be moved there
                self.close()
            self.path.replace(self.file)
            self.close()

    def discard(self) -> None:
        """Leave nothing of it, where it is ours."""
        with self._disk():
            self.size = 0
            if self._content is None:
                return
            self._note.unlink(missing_ok=True)
            if sys.platform == "win32":
                self.close()
            self.path.unlink(missing_ok=True)
            self.close()

    def close(self) -> None:
        """Let go of the file; what has arrived stays for the next call."""
        if self._content is not None:
            self._content.close()
            self._content = None

    def _held(self) -> BinaryIO:
        """The open part, which nobody else writes to. Raises `InvalidConfig` while somebody else does."""
        while self._content is None:
            content = self.path.open("a+b", buffering=0)
            if not _is_ours(content):
                content.close()
                raise InvalidConfig(f"{self.file} is being downloaded already", remedy="let that download finish")
            if self._is_at_its_place(content):
                self._content = content
            else:  # it was finished, or thrown away, before it was ours
                content.close()
        return self._content

    def _is_at_its_place(self, content: BinaryIO) -> bool:
        try:
            return os.path.samestat(os.fstat(content.fileno()), self.path.stat())
        except FileNotFoundError:
            return False

    def _noted(self) -> Version | None:
        try:
            return Version(**json.loads(self._note.read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, TypeError):  # a note that was never finished
            return None

    @contextmanager
    def _disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            remedy = "make room, or choose another place"
            raise InvalidConfig(f"{self.file} cannot be written", why=why, remedy=remedy) from error


def _is_ours(content: BinaryIO) -> bool:
    """True when nobody else holds it, and where the file system cannot tell."""
    try:
        return try_lock(content.fileno())
    except OSError as error:
        if error.errno in _LOCKLESS:
            return True
        raise

"""Uploaded inputs: files under the name of their sha256, that arrive in parts and are there whole or not at all.

A part lies beside its final place, so that an upload goes on after a broken connection or a restart of the machine.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from attrs import frozen

#: Bytes that are gathered before they are written.
BLOCK: Final = 1 << 20
DIGEST: Final = re.compile(r"[0-9a-f]{64}")
#: How the store's own files begin: inputs, and parts of them.
_OWN: Final = re.compile(r"\.?[0-9a-f]{64}")
SUFFIX: Final = re.compile(r"(\.[A-Za-z0-9]{1,16}){0,2}")


def is_place(text: str) -> bool:
    """True for a path that stays in the folder of the inputs and cannot be taken for one of its own files."""
    parts = text.split("/")
    is_inside = len(parts) > 1 and all(part not in ("", ".", "..") and part.isprintable() for part in parts)
    return is_inside and len(text) <= 512 and "\\" not in text and not _OWN.match(text)


class OffsetConflict(Exception):
    """The body does not continue what is there, or another upload of the same file took over."""


class WrongContent(Exception):
    """The bytes are not those that the name promises; the part is deleted."""


class NoRoom(Exception):
    """The disk is too small."""


@frozen
class Progress:
    """How much of a file is there, bytes."""

    offset: int
    is_complete: bool


class InputStore:
    """The `inputs` folder of a job."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._turns: defaultdict[str, int] = defaultdict(int)

    def progress(self, digest: str) -> Progress | None:
        """What is there of a file, or None."""
        complete = self.find(digest)
        if complete is not None:
            return Progress(complete.stat().st_size, is_complete=True)
        part = self._part(digest)
        return Progress(part.stat().st_size, is_complete=False) if part.exists() else None

    def find(self, digest: str) -> Path | None:
        """The complete file, under whichever suffix."""
        return next(iter(self._folder.glob(f"{digest}*")), None)

    def name(self, digest: str, suffix: str) -> Path:
        """Give a complete file its suffix, which tells the trainer its format."""
        path = self.find(digest)
        if path is None:
            raise FileNotFoundError(digest)
        return path.rename(self._folder / f"{digest}{suffix}")

    def put_at(self, digest: str, place: str) -> Path:
        """Let a complete file stand at a place of its own too, such as in the folder of a model."""
        path = self.find(digest)
        if path is None:
            raise FileNotFoundError(digest)
        target = self._folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            target.hardlink_to(path)
        except OSError:  # some network mounts have no links
            shutil.copyfile(path, target)
        return target

    async def receive(self, digest: str, offset: int, length: int, body: AsyncIterator[bytes]) -> Progress:
        """Append a body. Raises `OffsetConflict`, `WrongContent` or `NoRoom`.

        The newest upload of a file wins: the client of an older one may be long gone without the machine knowing.
        """
        self._turns[digest] += 1
        turn = self._turns[digest]
        async with self._locks[digest]:
            done = await asyncio.to_thread(self._begin, digest, offset, length)
        if done is not None:
            return done
        gathered = bytearray()
        async for chunk in body:
            gathered += chunk
            if len(gathered) >= BLOCK:
                offset = await self._append(digest, turn, offset, length, gathered)
                gathered = bytearray()
        await self._append(digest, turn, offset, length, gathered)
        async with self._locks[digest]:
            return await asyncio.to_thread(self._finish, digest, length)

    async def _append(self, digest: str, turn: int, offset: int, length: int, block: bytes | bytearray) -> int:
        async with self._locks[digest]:
            if turn != self._turns[digest]:
                raise OffsetConflict("another upload of the same file took over")
            if offset + len(block) > length:
                raise WrongContent(f"more than the {length} bytes that Upload-Length promises")
            return await asyncio.to_thread(self._write, digest, offset, block)

    def _begin(self, digest: str, offset: int, length: int) -> Progress | None:
        """Check that the body fits; the final progress when the file is complete already."""
        progress = self.progress(digest)
        if progress is not None and progress.is_complete:
            return progress
        there = 0 if progress is None else progress.offset
        if offset != there:
            raise OffsetConflict(f"{there} bytes are there, and the body starts at {offset}")
        self._folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._folder).free
        if length - there > free:
            raise NoRoom(f"{length - there} bytes are to come, and {free} are free")
        return None

    def _write(self, digest: str, offset: int, block: bytes | bytearray) -> int:
        with self._part(digest).open("ab") as part:
            if part.tell() != offset:
                raise OffsetConflict(f"{part.tell()} bytes are there, not {offset}")
            try:
                part.write(block)
                part.flush()
            except OSError as error:
                os.ftruncate(part.fileno(), offset)
                raise NoRoom(str(error.strerror)) from error
        return offset + len(block)

    def _finish(self, digest: str, length: int) -> Progress:
        part = self._part(digest)
        if not part.exists():
            complete = self.progress(digest)
            return complete if complete is not None else Progress(0, is_complete=False)
        size = part.stat().st_size
        if size < length:
            return Progress(size, is_complete=False)
        with part.open("rb") as file:
            is_right = size == length and hashlib.file_digest(file, "sha256").hexdigest() == digest
            if is_right:
                os.fsync(file.fileno())
        if not is_right:
            part.unlink()
            raise WrongContent("the bytes have another sha256 than their name")
        part.rename(self._folder / digest)
        _flush_folder(self._folder)
        return Progress(size, is_complete=True)

    def _part(self, digest: str) -> Path:
        return self._folder / f".{digest}.part"


def _flush_folder(folder: Path) -> None:
    """Make a rename survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

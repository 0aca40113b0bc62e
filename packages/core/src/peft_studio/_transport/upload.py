"""A file as the body of a request: read in blocks, as long as it was when the request began."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import BinaryIO

from peft_studio.errors import InvalidConfig

_BLOCK = 2**18


class FileBody:
    """Gives a new stream of the file for every attempt. Raises `InvalidConfig` when it cannot be read."""

    def __init__(self, file: Path) -> None:
        self._file = file
        with self._opened() as content:
            #: Bytes.
            self.size = os.fstat(content.fileno()).st_size

    async def __call__(self) -> AsyncGenerator[bytes]:
        left = self.size
        with self._opened() as content:
            while left:
                block = await asyncio.to_thread(content.read, min(_BLOCK, left))
                if not block:
                    raise InvalidConfig(f"{self._file} became shorter while it was sent")
                left -= len(block)
                yield block

    def _opened(self) -> BinaryIO:
        try:
            return self._file.open("rb")
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            raise InvalidConfig(f"{self._file} cannot be read", why=why) from error

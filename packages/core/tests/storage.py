"""A platform's file, as test platforms serve it."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

from attrs import define, field

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@define
class Storage:
    """Served whole or from an offset, and cut after so many bytes as often as told."""

    content: bytes = CONTENT
    etag: str | None = '"v1"'
    last_modified: str | None = None
    knows_ranges: bool = True
    checks_if_range: bool = True
    tells_length: bool = True
    cuts: list[int] = field(factory=list)
    headers: dict[str, str] = field(factory=dict)

    async def __call__(self, request: Any, writer: asyncio.StreamWriter) -> None:
        wanted = request.headers.get("range")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.knows_ranges else 0
        if self.checks_if_range and request.headers.get("if-range", self._validator) != self._validator:
            start = 0
        size = len(self.content)
        headers = {"ETag": self.etag, "Last-Modified": self.last_modified, **self.headers}
        if start >= size > 0:
            writer.write(self._head(416, {"Content-Range": f"bytes */{size}", "Content-Length": "0", **headers}))
            return
        body, end = self.content[start:], None
        if self.tells_length:
            headers["Content-Length"] = str(len(body))
        else:
            headers["Connection"] = "close"
        if start:
            headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
        if self.cuts:
            end = self.cuts.pop(0)
        writer.write(self._head(206 if start else 200, headers) + body[:end])
        await writer.drain()
        if end is not None or not self.tells_length:
            await asyncio.sleep(0.02)  # let the client read what a reset would discard
            writer.close()
            raise ConnectionResetError

    @property
    def _validator(self) -> str | None:
        return self.etag or self.last_modified

    def _head(self, status: int, headers: dict[str, str | None]) -> bytes:
        lines = [f"{name}: {value}\r\n" for name, value in headers.items() if value is not None]
        return f"HTTP/1.1 {status} Whatever\r\nContent-Type: application/octet-stream\r\n{''.join(lines)}\r\n".encode()

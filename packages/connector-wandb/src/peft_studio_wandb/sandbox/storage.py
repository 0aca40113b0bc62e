"""Bytes behind signed addresses: what a browser or an SDK puts and gets without the key.

Files lie on the disk, so that they can be of any size. An address is good for one file, one method and an hour.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from attrs import frozen
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from peft_studio_testkit.sandbox import Clock
from peft_studio_testkit.sandbox.streaming import download
from peft_studio_wandb.sandbox.problems import storage_error

#: Of a signed address, seconds of the clock.
LIFETIME: Final = 3600.0


@frozen
class Blob:
    """A file that is there."""

    path: Path
    size: int
    #: In base64, as everything else at W&B.
    md5: str
    at: float

    def read(self) -> bytes:
        """All of it."""
        return self.path.read_bytes()


@frozen
class Grant:
    """What an address allows."""

    method: str
    key: str
    md5: str | None
    expires: float


class Storage:
    """Files by key."""

    def __init__(self, clock: Clock, origin: Callable[[], str]) -> None:
        self._clock = clock
        self._origin = origin
        #: Where the bytes lie; set when the sandbox has its folder.
        self.folder = Path()
        self.blobs: dict[str, Blob] = {}
        self._grants: dict[str, Grant] = {}

    def clear(self) -> None:
        """Forget everything."""
        for blob in self.blobs.values():
            blob.path.unlink(missing_ok=True)
        self.blobs = {}
        self._grants = {}

    def address(self, method: str, key: str, md5: str | None = None) -> str:
        """A signed address. With `md5` no other bytes are taken."""
        token = secrets.token_hex(16)
        self._grants[token] = Grant(method, key, md5, self._clock.now() + LIFETIME)
        return f"{self._origin()}/storage/{quote(key)}?signature={token}"

    def routes(self) -> list[Route]:
        """Where the addresses lead."""
        return [
            Route("/storage/{key:path}", self.put, methods=["PUT"]),
            Route("/storage/{key:path}", self.get, methods=["GET"]),
        ]

    async def put(self, request: Request) -> Response:
        """Take a file, streamed."""
        grant = self._grant(request)
        if isinstance(grant, Response):
            return grant
        self.folder.mkdir(exist_ok=True)
        path = self.folder / secrets.token_hex(16)
        digest, size = hashlib.md5(usedforsecurity=False), 0
        with path.open("wb") as file:
            async for chunk in request.stream():
                file.write(chunk)
                digest.update(chunk)
                size += len(chunk)
        md5 = base64.b64encode(digest.digest()).decode()
        if {md5} != {md5, grant.md5 or md5, request.headers.get("content-md5", md5)}:
            path.unlink()
            return storage_error(400, "BadDigest")
        self.keep(grant.key, Blob(path, size, md5, self._clock.now()))
        return Response(headers={"etag": f'"{digest.hexdigest()}"'})

    def keep(self, key: str, blob: Blob) -> None:
        """Put a file where another one may have been."""
        old = self.blobs.get(key)
        self.blobs[key] = blob
        if old is not None:
            old.path.unlink()

    async def get(self, request: Request) -> Response:
        """Give a file, or the part that `Range` asks for."""
        grant = self._grant(request)
        if isinstance(grant, Response):
            return grant
        if grant.key not in self.blobs:
            return storage_error(404, "NoSuchKey")
        return download(self.blobs[grant.key].path)

    def _grant(self, request: Request) -> Grant | Response:
        if "authorization" in request.headers:
            return storage_error(400, "InvalidArgument")  # a signature and a key are one too many
        grant = self._grants.get(request.query_params.get("signature", ""))
        if grant is None or (grant.method, grant.key) != (request.method, request.path_params["key"]):
            return storage_error(403, "SignatureDoesNotMatch")
        return grant if self._clock.now() < grant.expires else storage_error(403, "ExpiredToken")


def show_file(storage: Storage, key: str, name: str, date: Callable[[float], str]) -> dict[str, Any]:
    """A file as GraphQL tells of it."""
    blob = storage.blobs[key]
    url = storage.address("GET", key)
    return {
        "id": base64.b64encode(f"File:{key}".encode()).decode(), "name": name, "displayName": name, "directUrl": url,
        "url": url, "sizeBytes": str(blob.size), "mimetype": "application/octet-stream", "updatedAt": date(blob.at),
        "md5": blob.md5, "digest": blob.md5, "storagePath": key,
    }  # fmt: skip

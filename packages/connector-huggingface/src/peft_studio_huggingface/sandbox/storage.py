"""The object storage: another origin, which knows no tokens, only signed addresses, and says no in XML."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from peft_studio_huggingface.sandbox.signing import Signer
from peft_studio_huggingface.sandbox.store import Store, Writer

_BLOCK: Final = 1 << 20


class Storage:
    """`/lfs/{oid}` for whole content, and below it for the parts of an upload."""

    def __init__(self, store: Store, signer: Signer) -> None:
        self._store = store
        self._signer = signer

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/lfs/{oid}", self.put, methods=["PUT"]),
            Route("/lfs/{oid}", self.get),
            Route("/lfs/{oid}/{upload}/{number:int}", self.put_part, methods=["PUT"]),
            Route("/lfs/{oid}/{upload}", self.complete, methods=["POST"]),
        ]

    async def get(self, request: Request) -> Response:
        """The content, or a part of it."""
        oid = request.path_params["oid"]
        return self._refusal(request) or _Download(self._store.path(oid), headers={"etag": f'"{oid}"'})

    async def put(self, request: Request) -> Response:
        """Content whose digest is its name."""
        if refusal := self._refusal(request):
            return refusal
        with self._store.writer() as writer:
            await _receive(request, writer)
        return self._take(writer, request.path_params["oid"])

    async def put_part(self, request: Request) -> Response:
        """A part; its name is its md5."""
        if refusal := self._refusal(request):
            return refusal
        place = self._store.part(request.path_params["upload"], request.path_params["number"])
        with Writer(place, is_part=True) as writer:
            await _receive(request, writer)
        return Response(headers={"etag": f'"{writer.digest.hexdigest()}"'})

    async def complete(self, request: Request) -> Response:
        """All parts are there: put them together in the order that the client states."""
        if refusal := self._refusal(request):
            return refusal
        stated = json.loads(await request.body())["parts"]
        parts = [self._store.part(request.path_params["upload"], part["partNumber"]) for part in stated]
        if not all(part.is_file() for part in parts):
            return _error(400, "InvalidPart")
        with self._store.writer() as writer:
            names = [_append(writer, part) for part in parts]
        if names != [part["etag"].strip('"') for part in stated]:
            writer.path.unlink()
            return _error(400, "InvalidPart")
        return self._take(writer, request.path_params["oid"])

    def _take(self, writer: Writer, oid: str) -> Response:
        if writer.digest.hexdigest() != oid:
            writer.path.unlink()
            return _error(400, "BadDigest")
        self._store.keep(writer)
        return Response(headers={"etag": f'"{oid}"'})

    def _refusal(self, request: Request) -> Response | None:
        """Two ways to prove who one is are one too many: a client has taken its token to a stranger."""
        if "authorization" in request.headers:
            return _error(400, "InvalidArgument")
        complaint = self._signer.complaint(request)
        return None if complaint is None else _error(403, complaint)


class _Download(FileResponse):
    chunk_size = 1 << 18


async def _receive(request: Request, writer: Writer) -> None:
    async for block in request.stream():
        writer.write(block)


def _append(writer: Writer, part: Path) -> str:
    """The md5 of what was appended; the part is gone then."""
    digest = hashlib.md5(usedforsecurity=False)
    with part.open("rb") as file:
        while block := file.read(_BLOCK):
            writer.write(block)
            digest.update(block)
    part.unlink()
    return digest.hexdigest()


def _error(status: int, code: str) -> Response:
    return Response(f"<Error><Code>{code}</Code></Error>", status, media_type="application/xml")

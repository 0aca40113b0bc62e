"""Git LFS: which content is missing and where it has to go, and whether it has arrived."""

from __future__ import annotations

import re
import secrets
from typing import Any, Final

from attrs import define
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from peft_studio_huggingface.sandbox.hub import Hub
from peft_studio_huggingface.sandbox.problems import Refusal
from peft_studio_huggingface.sandbox.signing import Signer

_TYPE: Final = "application/vnd.git-lfs+json"
_OID: Final = re.compile(r"[0-9a-f]{64}")


@define
class Multipart:
    """Content that is longer than `above` comes in parts of `part_size` bytes. Both are made up."""

    above: int = 5 * 2**30
    part_size: int = 64 * 2**20


class LfsRoutes:
    """Under `/{namespace}/{name}.git/info/lfs`."""

    def __init__(self, hub: Hub, signer: Signer, multipart: Multipart) -> None:
        self._hub = hub
        self._signer = signer
        self._multipart = multipart

    def routes(self) -> list[Route]:
        """All of them."""
        lfs = "/{namespace}/{name}.git/info/lfs/objects"
        return [
            Route(lfs + "/batch", self.batch, methods=["POST"]),
            Route(lfs + "/verify", self.verify, methods=["POST"]),
        ]

    async def batch(self, request: Request) -> Response:
        """For each object, what is to be done; nothing for one that is there."""
        body = await request.json()
        if body.get("operation") != "upload":
            raise Refusal(400, "the sandbox takes uploads here; downloads are those of /resolve/")
        repository, _ = self._hub.writable(request)
        may_part = "multipart" in body.get("transfers", ["basic"])
        verify = f"{request.base_url}{repository.id}.git/info/lfs/objects/verify"
        parted = [may_part and each["size"] > self._multipart.above for each in body["objects"]]
        objects = [
            self._object(each, verify, is_parted=is_parted)
            for each, is_parted in zip(body["objects"], parted, strict=True)
        ]
        transfer = "multipart" if any(parted) else "basic"
        return JSONResponse({"transfer": transfer, "objects": objects}, media_type=_TYPE)

    async def verify(self, request: Request) -> Response:
        """Whether it has arrived."""
        self._hub.writable(request)
        body = await request.json()
        if not self._hub.store.has(body["oid"], body["size"]):
            raise Refusal(404, f"{body['oid']} has not arrived")
        return JSONResponse({}, media_type=_TYPE)

    def _object(self, wanted: dict[str, Any], verify: str, *, is_parted: bool) -> dict[str, Any]:
        oid, size = wanted["oid"], wanted["size"]
        if not _OID.fullmatch(oid):
            return {"oid": oid, "size": size, "error": {"code": 422, "message": "the oid is not a sha256"}}
        told = {"oid": oid, "size": size, "authenticated": True}
        if self._hub.store.has(oid, size):
            return told
        upload = (
            self._parts(oid, size) if is_parted else {"href": self._signer.sign("PUT", f"/lfs/{oid}"), "header": {}}
        )
        return {**told, "actions": {"upload": upload, "verify": {"href": verify, "header": {}}}}

    def _parts(self, oid: str, size: int) -> dict[str, Any]:
        upload = secrets.token_hex(8)
        count = -(-size // self._multipart.part_size)
        parts = {
            f"{number:05}": self._signer.sign("PUT", f"/lfs/{oid}/{upload}/{number}") for number in range(1, count + 1)
        }
        header = {"chunk_size": str(self._multipart.part_size), **parts}
        return {"href": self._signer.sign("POST", f"/lfs/{oid}/{upload}"), "header": header}

"""The addresses of the artifact: its manifest, and its files, whole or in parts."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import FileResponse, Response

from peft_studio.artifacts import Manifest
from peft_studio_worker.serving.machine import Machine
from peft_studio_worker.serving.problems import problem


class Downloads:
    """`/v1/artifact`."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    async def manifest(self, request: Request) -> Response:
        """The manifest as it stands on the disk, so that its digest can be acknowledged."""
        try:
            text = await asyncio.to_thread(self._machine.manifest)
        except FileNotFoundError:
            return _no_artifact()
        return Response(text, media_type="application/json")

    async def file(self, request: Request) -> Response:
        """A file that the manifest names; `Range` and `If-Range` are honoured, its ETag is its sha256."""
        try:
            text = await asyncio.to_thread(self._machine.manifest)
        except FileNotFoundError:
            return _no_artifact()
        wanted = request.path_params["path"]
        entry = next((each for each in Manifest.from_json(text.decode()).files if each.path == wanted), None)
        if entry is None:
            return problem(404, "the artifact has no such file")
        path = self._machine.run.folder.artifact / entry.path
        return _File(path, media_type="application/octet-stream", headers={"etag": f'"{entry.sha256}"'})


class _File(FileResponse):
    """In large blocks: each costs a thread and a turn of the event loop."""

    chunk_size = 1 << 20


def _no_artifact() -> Response:
    return problem(404, "there is no artifact yet")

"""Files: those in git come from the Hub itself, those in LFS from the storage, to which it sends the client."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from peft_studio_huggingface.sandbox.hub import Hub
from peft_studio_huggingface.sandbox.problems import Refusal
from peft_studio_huggingface.sandbox.repositories import File
from peft_studio_huggingface.sandbox.signing import Signer


class ResolveRoutes:
    """`/{namespace}/{name}/resolve/{revision}/{path}`."""

    def __init__(self, hub: Hub, signer: Signer) -> None:
        self._hub = hub
        self._signer = signer

    def routes(self) -> list[Route]:
        """The one."""
        return [Route("/{namespace}/{name}/resolve/{revision}/{path:path}", self.file)]

    async def file(self, request: Request) -> Response:
        """The file, or where it is; and of which commit."""
        commit = self._hub.with_files(request).revision(request.path_params["revision"])
        headers = {"x-repo-commit": commit.id}
        file = commit.files.get(request.path_params["path"])
        if file is None:
            raise Refusal(404, "Entry not found", "EntryNotFound", headers=headers)
        return self._linked(file, headers) if file.sha256 else self._inline(file, headers)

    def _inline(self, file: File, headers: dict[str, str]) -> Response:
        path = self._hub.store.path(file.content)
        return FileResponse(path, headers={**headers, "etag": f'"{file.blob}"'}, media_type="text/plain")

    def _linked(self, file: File, headers: dict[str, str]) -> Response:
        linked = {"x-linked-etag": f'"{file.content}"', "x-linked-size": str(file.size), "accept-ranges": "bytes"}
        location = self._signer.sign("GET", f"/lfs/{file.content}")
        return Response(status_code=302, headers={**headers, **linked, "location": location})

"""GET /artifactsV2/…: one file of an artifact by its digest, for whoever asked for no signed address before."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from peft_studio_wandb.sandbox.problems import Refusal
from peft_studio_wandb.sandbox.storage import Storage

_PATH = "/artifactsV2/{region}/{entity}/{project}/{collection}/{artifact}/{digest}/{name}"


class ArtifactDownloads:
    """The handler. It leads to a signed address; that W&B does so is a guess."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def routes(self) -> list[Route]:
        """Its path."""
        return [Route(_PATH, self.lead)]

    async def lead(self, request: Request) -> Response:
        """To where the bytes are."""
        parts = request.path_params
        key = f"artifacts/{parts['entity']}/{parts['project']}/{parts['digest']}"
        if key not in self._storage.blobs:
            raise Refusal(404, "file not found")
        return RedirectResponse(self._storage.address("GET", key), 302)

"""`WandbSandbox`: Weights & Biases on loopback, as far as a client that records runs can tell."""

from __future__ import annotations

import base64
import secrets
from typing import Any, ClassVar

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount

from peft_studio_testkit.sandbox import HttpSandbox
from peft_studio_wandb.sandbox.artifact_downloads import ArtifactDownloads
from peft_studio_wandb.sandbox.artifact_fields import ArtifactFields
from peft_studio_wandb.sandbox.artifacts import Artifacts
from peft_studio_wandb.sandbox.file_stream import FileStream
from peft_studio_wandb.sandbox.graphql import GraphQl
from peft_studio_wandb.sandbox.problems import NOT_LOGGED_IN, Refusal, on_refusal
from peft_studio_wandb.sandbox.run_fields import RunFields
from peft_studio_wandb.sandbox.runs import WandbRun, Workspace
from peft_studio_wandb.sandbox.storage import Storage
from peft_studio_wandb.sandbox.writer import Writer


class WandbSandbox(HttpSandbox):
    """GraphQL, the file stream, and files behind signed addresses of a second origin."""

    file_upload = ("PUT", r"/storage/.")
    file_download: ClassVar[str] = r"/storage/."

    def __init__(self, *, speed: float = 0.0, worker: bool = False, port: int = 0) -> None:
        super().__init__(speed=speed, worker=worker, port=port)
        self.workspace = Workspace(self.clock)
        self.runs = self.workspace
        #: As self-managed servers do, files are at the server's own address; faults reach them there.
        self.stores_at_own_address = False
        #: A wrong key is answered 200 with a viewer that is null.
        self.is_polite_to_strangers = False
        #: What `serverInfo` tells of the server.
        self.features: dict[str, bool] = {}
        self.storage = Storage(self.clock, lambda: self.url if self.stores_at_own_address else self.other_origin)
        self.artifacts = Artifacts(self.storage)
        self.run_fields = RunFields(self.workspace, self.storage)
        self._shown = ArtifactFields(self.artifacts, self.workspace, self.run_fields)

    # The platform.

    def routes(self) -> list[BaseRoute]:
        graphql = GraphQl(self._caller, self.contract_violations.append, self._note_bug)
        routes = [*FileStream(self.workspace).routes(), *ArtifactDownloads(self.storage).routes()]
        plain = Starlette(routes=routes, exception_handlers={Refusal: on_refusal})
        return [*graphql.routes(), *self.storage.routes(), Mount("/", plain)]

    def other_routes(self) -> list[BaseRoute]:
        return list(self.storage.routes())

    def authenticate(self, request: HTTPConnection) -> bool:
        """Signed addresses need no key."""
        path = request.url.path
        is_polite = self.is_polite_to_strangers and path == "/graphql"
        return path.startswith("/storage/") or is_polite or self._has_key(request)

    def unauthorized(self, request: HTTPConnection) -> Response:
        is_graphql = request.url.path == "/graphql"
        body = {"errors": [{"message": NOT_LOGGED_IN}]} if is_graphql else {"error": NOT_LOGGED_IN}
        return JSONResponse(body, 401)

    def error_body(self, message: str) -> dict[str, Any]:
        return {"error": message}

    def environment(self) -> dict[str, str]:
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": self.key}

    def start(self) -> None:
        super().start()
        self.storage.folder = self.folder / "storage"

    def reset(self) -> None:
        super().reset()
        self.artifacts.clear()
        self.storage.clear()
        self.features.clear()
        self.run_fields.lag = 0.0
        self.run_fields.hides_history = False
        self.stores_at_own_address = self.is_polite_to_strangers = False
        self.key = _new_key()

    def revoke(self) -> None:
        self.key = _new_key()

    # What a test does to it.

    def run(self, path: str) -> WandbRun:
        """The truth of a run, by `entity/project/name` or its name alone. Raises `KeyError`."""
        return self.workspace.run(path)

    def stop_run(self, path: str) -> None:
        """Press Stop: the next answer of the file stream says so."""
        self.run(path).stopped = True

    def _has_key(self, request: HTTPConnection) -> bool:
        expected = base64.b64encode(f"api:{self.key}".encode()).decode()
        return request.headers.get("authorization") == f"Basic {expected}"

    def _caller(self, request: Request) -> Writer:
        return Writer(
            self.workspace, self.artifacts, self.run_fields, self._shown, self.features,
            is_known=self._has_key(request),
        )  # fmt: skip

    def _note_bug(self, error: Exception) -> None:
        self.note_error(error, "POST", "/graphql")


def _new_key() -> str:
    """In the form of today's keys, of 86 characters: the SDK takes none of less than 40."""
    return f"wandb_v1_{secrets.token_hex(39)[:77]}"

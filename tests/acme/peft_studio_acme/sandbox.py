"""The platform on loopback."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from peft_studio_testkit.sandbox import HttpSandbox
from peft_studio_testkit.sandbox.streaming import download, line_events


class AcmeSandbox(HttpSandbox):
    """What api.acme.example would be."""

    def routes(self) -> list[Route]:
        return [
            Route("/v1/jobs", self.index),
            Route("/v1/jobs", self.create, methods=["POST"]),
            Route("/v1/jobs/{id}", self.show),
            Route("/v1/jobs/{id}/logs", self.logs),
            Route("/v1/jobs/{id}/cancel", self.cancel, methods=["POST"]),
            Route("/v1/jobs/{id}/files/{name:path}", self.file),
        ]

    def environment(self) -> dict[str, str]:
        return {"ACME_HOME": f"{self.url}/home sweet"}

    async def index(self, request: Request) -> Response:
        return JSONResponse(list(self.jobs))

    async def create(self, request: Request) -> Response:
        return JSONResponse({"id": self.jobs.add(await request.json()).id}, status_code=201)

    async def show(self, request: Request) -> Response:
        job = self.jobs[request.path_params["id"]]
        return JSONResponse({"status": job.status, "files": list(job.files)})

    async def logs(self, request: Request) -> Response:
        return line_events(request, self.clock, self.jobs[request.path_params["id"]])

    async def cancel(self, request: Request) -> Response:
        return JSONResponse({"cancelled": self.jobs[request.path_params["id"]].cancel()})

    async def file(self, request: Request) -> Response:
        return download(self.jobs[request.path_params["id"]].files.path(request.path_params["name"]))

"""The open ports of Jobs: `/exposed/{job}-{port}/...` in place of a host name for each; public, as the real ones."""

from __future__ import annotations

from typing import Final

import httpx2
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from peft_studio_huggingface.sandbox.rented_job import PORT, PretendingJob, RentedJob
from peft_studio_testkit.sandbox import JobTable
from peft_studio_testkit.sandbox.open_ports import InProcess, pass_on

_METHODS: Final = ["GET", "HEAD", "POST", "PUT"]


class ExposedRoutes:
    """The way to each worker; and the ear of the start commands that do not run."""

    def __init__(self, jobs: JobTable) -> None:
        self._jobs = jobs

    def routes(self) -> list[Route]:
        """Both."""
        return [
            Route("/exposed/{id}-{port:int}/{path:path}", self.forward, methods=_METHODS),
            Route("/ended/{id}", self.ended, methods=["POST"]),
        ]

    async def forward(self, request: Request) -> Response:
        """To the worker, which wants a token of its own."""
        job = self._jobs.get(request.path_params["id"])
        port = job.open_port if isinstance(job, RentedJob) and request.path_params["port"] == PORT else None
        if port is None:
            return _nobody()
        if isinstance(job, PretendingJob) and job.worker is not None:
            return InProcess(job.worker, f"/{request.path_params['path']}")
        try:
            return await pass_on(request, port)
        except httpx2.TransportError:
            return _nobody()

    async def ended(self, request: Request) -> Response:
        """The command has ended, and the job is completed."""
        job = self._jobs[request.path_params["id"]]
        assert isinstance(job, PretendingJob)
        job.finish("COMPLETED")
        return Response(status_code=204)


def _nobody() -> Response:
    return JSONResponse({"error": "nothing listens there"}, 502)

"""A My Platform on loopback."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from email import message_from_bytes
from typing import Any, ClassVar, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from peft_studio_myplatform.expected_failures import EXPECTED_FAILURES
from peft_studio_testkit.sandbox import HttpSandbox
from peft_studio_testkit.sandbox.streaming import line_messages

RESOURCES: Final = {
    "gpu-a100": {"name": "1x A100", "gpu_type": "A100", "gpu_count": 1, "vram_gb": 80, "hourly_rate": 1.79},
    "gpu-l4": {"name": "1x L4", "gpu_type": "L4", "gpu_count": 1, "vram_gb": 24, "hourly_rate": 0.43},
}


class MyPlatformSandbox(HttpSandbox):
    """The platform that the connector talks to, without a bill."""

    expected_failures: ClassVar[Mapping[str, str]] = EXPECTED_FAILURES

    def credentials(self) -> dict[str, str]:
        return {"api_key": self.key, "base_url": f"{self.url}/v1"}

    def routes(self) -> Sequence[BaseRoute]:
        return [
            Route("/v1/verify", self.verify),
            Route("/v1/jobs", self.create_job, methods=["POST"]),
            Route("/v1/jobs/{id}", self.job),
            WebSocketRoute("/v1/jobs/{id}/logs", self.job_logs),
            Route("/v1/jobs/{id}/artifact", self.job_artifact),
            Route("/v1/artifacts", self.create_artifact, methods=["POST"]),
            Route("/v1/resources", self.resources),
            Route("/v1/resources/{id}/pricing", self.pricing),
        ]

    async def verify(self, request: Request) -> Response:
        return JSONResponse({"account": "account-1"})

    async def create_job(self, request: Request) -> Response:
        config = await request.json()
        if config.get("resource_id") not in (None, *RESOURCES):
            return self._no(422, f"there is no resource {config['resource_id']}")
        return JSONResponse({"job_id": self.jobs.add(config).id}, status_code=201)

    async def job(self, request: Request) -> Response:
        job = self.jobs.get(request.path_params["id"])
        if job is None:
            return self._no(404, "there is no such job")
        return JSONResponse({"job_id": job.id, "status": job.word or job.status})

    async def job_logs(self, websocket: WebSocket) -> None:
        job = self.jobs.get(websocket.path_params["id"])
        if job is None:
            await websocket.send_denial_response(self._no(404, "there is no such job"))
        else:
            await line_messages(websocket, self.clock, job)

    async def job_artifact(self, request: Request) -> Response:
        job = self.jobs.get(request.path_params["id"])
        if job is None or not job.files:
            return self._no(404, "there is no artifact")
        return Response(job.files.archive(), media_type="application/x-tar")

    async def create_artifact(self, request: Request) -> Response:
        head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
        parts: list[Any] = list(message_from_bytes(head + await request.body()).walk())
        _, metadata, file = parts
        name, content = file.get_filename(), file.get_payload(decode=True)
        model = self.models.add(name, files={name: content}, metadata=json.loads(metadata.get_payload(decode=True)))
        return JSONResponse({"artifact_id": model.id}, status_code=201)

    async def resources(self, request: Request) -> Response:
        listed = [{"id": id, "available": True, **resource} for id, resource in RESOURCES.items()]
        return JSONResponse({"resources": listed})

    async def pricing(self, request: Request) -> Response:
        resource = RESOURCES.get(request.path_params["id"])
        if resource is None:
            return self._no(404, "there is no such resource")
        return JSONResponse({"hourly_rate": resource["hourly_rate"], "currency": "USD", "billing_increment": 60})

    def _no(self, status: int, message: str) -> Response:
        return JSONResponse(self.error_body(message), status_code=status)

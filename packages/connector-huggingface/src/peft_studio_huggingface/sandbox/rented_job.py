"""A Job of the Hub that is rented for a training: it runs until it is ended, and a worker that pretends is on its port.

The training's own life is that of a scripted job. The real machine's start command ends when its worker asks it to;
here a route of the sandbox stands for that, as no command runs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from peft_studio.rented import bootstrap_script
from peft_studio.rented.machine import worker_token
from peft_studio_huggingface.sandbox.hub_job import HubJob
from peft_studio_huggingface.sandbox.timeline import date_text
from peft_studio_testkit.sandbox import JobTable
from peft_studio_testkit.sandbox.scripted_worker import ScriptedWorker

_WORKER: Final = "PEFT_STUDIO_WORKER_"
JOB: Final = f"{_WORKER}JOB"
TAG: Final = "peft-studio"
_PORT: Final = "8000"
_METHODS: Final = ["GET", "HEAD", "POST", "PUT"]


def is_for_a_training(body: Mapping[str, Any]) -> bool:
    """True for a job that is told to run the worker."""
    return JOB in body.get("environment", {}) and bootstrap_script() in body.get("command", [])


def seeded_body(tag: str, key: str) -> dict[str, Any]:
    """What would have been asked for, had a connector of ours done so."""
    environment = {JOB: tag, f"{_WORKER}PORT": _PORT}
    return {"flavor": "t4-small", "labels": {TAG: tag}, "environment": environment,
            "secrets": {f"{_WORKER}TOKEN": worker_token(key, tag)}}  # fmt: skip


class RentedJob(HubJob):
    """Of `received`, the Hub's part is `body`: the training's own comes later, through the worker."""

    def __init__(self, *details: Any, body: Mapping[str, Any], **named: Any) -> None:
        super().__init__(*details, **named)
        self.body = dict(body)
        self.worker: ScriptedWorker | None = None
        self.log: list[tuple[str, str]] = []
        self._over: tuple[str, float] | None = None
        self._origin: Callable[[], str] = str

    def serve(self, folder: Path, origin: Callable[[], str]) -> None:
        """Let its worker listen."""
        self._origin = origin
        ended = [{"method": "POST", "url": f"{origin()}/ended/{self.id}", "accept": [204]}]
        environment = {**self.body["environment"], **self.body["secrets"], f"{_WORKER}TEARDOWN": json.dumps(ended)}
        self.worker = ScriptedWorker(self, environment, folder, self._say)

    @property
    def asked(self) -> Mapping[str, Any]:
        return self.body

    @property
    def stage(self) -> str:
        if self.word:
            return self.word
        return "RUNNING" if self._over is None else self._over[0]

    @property
    def namespace(self) -> str:
        return str(self.body.get("namespace", "me"))

    @property
    def dated_lines(self) -> list[tuple[str, str]]:
        return list(self.log)

    def finish(self, stage: str) -> None:
        """The machine is gone, and with it a training that was not over; while that cannot be cancelled, it stays."""
        self.cancel()
        if self._over is not None or not self.status.is_terminal:
            return
        self._over = (stage, self._clock.now())
        if self.worker is not None:
            self.worker.end()
        self._clock.ring()

    def document(self) -> dict[str, Any]:
        end = self._over[1] if self._over else None
        seconds = round((self._clock.now() if end is None else end) - self.created)
        urls = [f"{self._origin()}/exposed/{self.id}-{_PORT}"] if end is None and self.worker else None
        owner = {"id": self.namespace.encode().hex(), "name": self.namespace, "type": "user"}
        kept = {key: self.body.get(key) for key in ("dockerImage", "command", "environment", "flavor", "labels")}
        return {
            **kept,
            "id": self.id,
            "createdAt": date_text(self.created),
            "startedAt": date_text(self.created),
            "finishedAt": None if end is None else date_text(end),
            "secrets": list(self.body.get("secrets", {})),
            "status": {"stage": self.stage, "message": None, "failureCount": 0, "exposeUrls": urls},
            "durations": {"schedulingSecs": 0, "runningSecs": seconds, "totalSecs": seconds},
            "owner": owner,
            "initiator": owner,
        }

    def _say(self, line: str) -> None:
        self.log.append((date_text(self._clock.now()), line))
        self._clock.ring()


class ExposedRoutes:
    """`/exposed/{job}-{port}/...`, in place of a host name for each port; and the ear of each start command."""

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
        if (
            not isinstance(job, RentedJob)
            or job.worker is None
            or not job.worker.listens_at(request.path_params["port"])
        ):
            return JSONResponse({"error": "nothing listens there"}, 502)
        return _Pretended(job.worker, f"/{request.path_params['path']}")

    async def ended(self, request: Request) -> Response:
        """The command has ended, and the job is completed."""
        job = self._jobs[request.path_params["id"]]
        assert isinstance(job, RentedJob)
        job.finish("COMPLETED")
        return Response(status_code=204)


class _Pretended(Response):
    """The answer of a worker in this very process."""

    def __init__(self, worker: ScriptedWorker, path: str) -> None:
        super().__init__()
        self._worker = worker
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        inside = {**scope, "path": self._path, "raw_path": self._path.encode(), "root_path": "", "path_params": {}}
        await self._worker(inside, receive, send)

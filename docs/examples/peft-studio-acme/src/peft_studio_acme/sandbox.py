"""A fake Acme on loopback: the paths of api.py, and refusals in its own words.

The testkit brings the server, the clock, the jobs and the faults; what is written here is only how this platform talks.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from peft_studio import JobStatus
from peft_studio_testkit.sandbox import HttpSandbox, Job
from peft_studio_testkit.sandbox.pages import paginate
from peft_studio_testkit.sandbox.streaming import download, json_line, line_events
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

MACHINES: Final = {
    "a100": {"name": "1x A100", "gpu": "A100", "gpu_count": 1, "gpu_memory": 80, "hourly_price": "1.99"},
    "h100-8": {"name": "8x H100", "gpu": "H100", "gpu_count": 8, "gpu_memory": 80, "hourly_price": "23.92"},
    "cpu": {"name": "CPU only", "memory": 64, "hourly_price": "0.08"},
}

WORDS: Final = {
    JobStatus.PENDING: "QUEUED",
    JobStatus.RUNNING: "RUNNING",
    JobStatus.PAUSED: "PAUSED",
    JobStatus.COMPLETED: "SUCCEEDED",
    JobStatus.FAILED: "FAILED",
    JobStatus.CANCELLED: "CANCELLED",
}

#: What the platform calls the start of its clock.
_START: Final = datetime(2026, 1, 1, tzinfo=UTC)

#: The platform reads its metrics off the log.
_MEASURED: Final = re.compile(r"step (\d+)\S*\s+loss ([\d.]+)")

Record = TypeVar("Record")


class AcmeSandbox(HttpSandbox):
    """The platform that api.py describes."""

    def environment(self) -> dict[str, str]:
        return {"ACME_API_KEY": self.key, "ACME_BASE_URL": self.url}

    def routes(self) -> list[Route]:
        return [
            Route("/v1/account", self.account),
            Route("/v1/files/{sha256}", self.receive_upload, methods=["PUT"]),
            Route("/v1/machines", self.machines),
            Route("/v1/machines/{id}", self.machine),
            Route("/v1/jobs", self.list_jobs),
            Route("/v1/jobs", self.create_job, methods=["POST"]),
            Route("/v1/jobs/{id}", self.job),
            Route("/v1/jobs/{id}/{command}", self.command_job, methods=["POST"]),
            Route("/v1/jobs/{id}/logs", self.job_logs),
            Route("/v1/jobs/{id}/metrics", self.job_metrics),
            Route("/v1/jobs/{id}/files", self.job_files),
            Route("/v1/jobs/{id}/files/{name:path}", self.job_file),
        ]

    async def account(self, request: Request) -> Response:
        return JSONResponse({"id": "account-1"})

    async def receive_upload(self, request: Request) -> Response:
        digest, place = hashlib.sha256(), self._upload(request.path_params["sha256"])
        with place.open("wb") as file:
            async for chunk in request.stream():
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != place.name:
            place.unlink()
            raise HTTPException(422, "these are not the bytes whose sha256 is in the address")
        return Response(status_code=204)

    def _upload(self, sha256: str) -> Path:
        """Where an upload is kept; it may not have arrived."""
        folder = self.folder / "uploads"
        folder.mkdir(exist_ok=True)
        return folder / sha256

    def _uploaded(self, sha256: str) -> Path:
        place = self._upload(sha256)
        if not place.is_file():
            raise HTTPException(422, f"{sha256} was not uploaded")
        return place

    # Machines and jobs.

    async def machines(self, request: Request) -> Response:
        return self._page(request, [_machine(name) for name in MACHINES])

    async def machine(self, request: Request) -> Response:
        _find(MACHINES, request)
        return JSONResponse(_machine(request.path_params["id"]))

    async def create_job(self, request: Request) -> Response:
        asked = await request.json()
        if asked["machine"] not in (None, *MACHINES):
            raise HTTPException(422, f"there is no machine {asked['machine']}")
        dataset = self._dataset(asked["dataset"])
        names = {"tag": asked["tag"], "resource_id": asked["machine"], "dataset_path": str(dataset)}
        return JSONResponse(_job(self.jobs.add({**asked["training"], **names})), status_code=201)

    def _dataset(self, file: Mapping[str, str]) -> Path:
        """The upload under the name that it had, whose ending tells the format."""
        place = self.folder / "datasets" / file["sha256"] / Path(file["name"]).name
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(self._uploaded(file["sha256"]))
        return place

    async def list_jobs(self, request: Request) -> Response:
        tag = request.query_params.get("tag")
        return self._page(request, [_job(job) for job in self.jobs.values() if tag in (None, job.tag)])

    async def job(self, request: Request) -> Response:
        return JSONResponse(_job(_find(self.jobs, request)))

    async def command_job(self, request: Request) -> Response:
        job = _find(self.jobs, request)
        commands = {
            "cancel": (job.status.is_terminal, job.cancel),
            "pause": (job.status is JobStatus.PAUSED, job.pause),
            "resume": (job.status is JobStatus.RUNNING, job.resume),
        }
        is_done_already, act = _find(commands, request, "command")
        if not is_done_already and not act():
            raise HTTPException(409, f"this cannot be done to a job that is {WORDS[job.status]}")
        return JSONResponse(_job(job))

    async def job_logs(self, request: Request) -> Response:
        return line_events(request, self.clock, _find(self.jobs, request), data=json_line)

    async def job_metrics(self, request: Request) -> Response:
        measured = [_MEASURED.search(line) for line in _find(self.jobs, request).lines]
        rows = [{"step": int(match[1]), "values": {"loss": float(match[2])}} for match in measured if match]
        return self._page(request, rows)

    async def job_files(self, request: Request) -> Response:
        files = _find(self.jobs, request).files
        return self._page(request, [_file(name, files.path(name)) for name in files])

    async def job_file(self, request: Request) -> Response:
        files = _find(self.jobs, request).files
        _find(files, request, "name")
        return download(files.path(request.path_params["name"]))

    def _page(self, request: Request, items: Sequence[Any]) -> Response:
        page = paginate(items, request.query_params.get("cursor"), self.page_size)
        return JSONResponse({"items": page.items, "next_cursor": page.next_cursor})


def _find(records: Mapping[str, Record], request: Request, parameter: str = "id") -> Record:
    """The record that the path names, or 404."""
    key = request.path_params[parameter]
    if key not in records:
        raise HTTPException(404, f"there is no {key}")
    return records[key]


def _machine(id: str) -> dict[str, Any]:
    return {"id": id, "currency": "USD", "billed_seconds": 60, "available": True, **MACHINES[id]}


def _job(job: Job) -> dict[str, Any]:
    machine = job.received.get("resource_id") or "cpu"
    return {
        "id": job.id,
        "tag": job.tag,
        "status": job.word or WORDS[job.status],
        "reason": job.reason,
        "machine": machine,
        "hourly_price": MACHINES[machine]["hourly_price"],
        "currency": "USD",
        "created": (_START + timedelta(seconds=job.created)).isoformat(),
    }


def _file(name: str, path: Path) -> dict[str, Any]:
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return {"name": name, "size": path.stat().st_size, "sha256": digest}

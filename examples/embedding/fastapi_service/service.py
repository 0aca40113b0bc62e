"""Fine-tuning as a web service: submit a job, see how it stands, read its events while they happen.

    pip install fastapi uvicorn 'peft-studio[local]'
    STUDIO_FILES=data uvicorn service:app

The application owns one manager, in its own event loop. Jobs belong to the ledger and the platform, not to this
process: a service that is restarted goes on where the reader was. It knows no users: put yours in front of it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import attrs
from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import JSONResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from peft_studio import (
    ConnectionFailed,
    ConnectorManager,
    ConnectorNotFound,
    InvalidConfig,
    JobNotFound,
    PeftStudioError,
    Problem,
    TrainingConfig,
    hookimpl,
)
from peft_studio.ledger import JobRecord

#: Datasets are taken from this folder and from nowhere else.
FILES = Path(os.environ.get("STUDIO_FILES", "files")).resolve()


class Rules:
    """What this service lets its callers do; asked before every submission."""

    @hookimpl
    def peft_studio_review_job(self, config: TrainingConfig) -> list[Problem]:
        """A caller names files, and must not be able to name those of the machine."""
        problems = []
        if not Path(config.dataset_path).resolve().is_relative_to(FILES):
            problems.append(Problem(field="dataset_path", message=f"dataset_path must be below {FILES}"))
        if config.output_dir is not None:
            problems.append(Problem(field="output_dir", message="output_dir is not for callers"))
        return problems


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    """One manager for as long as the application runs."""
    async with ConnectorManager(plugins=[Rules()]) as manager:
        yield {"manager": manager}


app = FastAPI(title="Fine-tuning", lifespan=lifespan)


def the_manager(request: Request) -> ConnectorManager:
    """The one that the application owns."""
    manager: ConnectorManager = request.state.manager
    return manager


Manager = Annotated[ConnectorManager, Depends(the_manager)]


@app.get("/connectors")
async def list_connectors(manager: Manager) -> list[dict[str, Any]]:
    """Everything that is installed; imports none of it."""
    return [record.to_dict() for record in manager.list_connectors()]


@app.post("/jobs", status_code=201)
async def submit(config: dict[str, Any], manager: Manager) -> dict[str, Any]:
    """Start a job on the config's provider, or on this machine; its dataset is the name of one of our files."""
    checked = TrainingConfig.from_dict(config)
    checked = attrs.evolve(checked, dataset_path=str(FILES / checked.dataset_path))
    return described(await manager.jobs.submit(checked.provider or "local", checked))


@app.get("/jobs")
async def list_jobs(manager: Manager) -> list[dict[str, Any]]:
    """Every job of the ledger, newest first."""
    return [described(job) for job in await manager.jobs.list_jobs()]


@app.get("/jobs/{id}")
async def status(id: str, manager: Manager) -> dict[str, Any]:
    """How one job stands."""
    return described(await manager.jobs.get(id))


@app.post("/jobs/{id}/cancel")
async def cancel(id: str, manager: Manager) -> dict[str, Any]:
    """Stop a job for good."""
    return described(await manager.jobs.cancel(id))


async def known(id: str, manager: Manager) -> None:
    """Told before the stream begins: its status code is sent with its first byte."""
    await manager.jobs.get(id)


@app.get("/jobs/{id}/events", response_class=EventSourceResponse, dependencies=[Depends(known)])
async def events(
    id: str, manager: Manager, last_event_id: Annotated[int, Header(ge=0)] = 0
) -> AsyncIterator[ServerSentEvent]:
    """Every event after the reader's last one, until the job stops; a browser's EventSource reconnects by itself."""
    async for event in manager.jobs.follow(id, after=last_event_id):
        yield ServerSentEvent(id=str(event.sequence), event=event.type, data={"time": event.time, **event.data})


def described(job: JobRecord) -> dict[str, Any]:
    """A job as callers see it."""
    return {
        "id": job.id,
        "connector": job.connector,
        "status": job.status,
        "reason": job.reason,
        "reachable": job.reachable,
        "created": job.created,
    }


#: The caller's mistake, something that is not there, a platform that does not answer, a platform that says no.
STATUS = {InvalidConfig: 422, JobNotFound: 404, ConnectorNotFound: 404, ConnectionFailed: 504, PeftStudioError: 502}


@app.exception_handler(PeftStudioError)
async def tell(request: Request, error: PeftStudioError) -> JSONResponse:
    """Our errors say what failed and what to do; a caller gets both."""
    code = next(code for kind, code in STATUS.items() if isinstance(error, kind))
    return JSONResponse({"error": str(error), "remedy": error.remedy}, code)

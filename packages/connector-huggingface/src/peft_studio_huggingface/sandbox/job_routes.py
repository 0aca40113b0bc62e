"""Jobs: run, inspect, list, cancel, logs, and the machines there are."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from peft_studio_huggingface.sandbox.accounts import Accounts, Token
from peft_studio_huggingface.sandbox.hardware import FLAVORS
from peft_studio_huggingface.sandbox.hub_job import JobOfHub
from peft_studio_huggingface.sandbox.pages import page
from peft_studio_huggingface.sandbox.problems import Refusal
from peft_studio_huggingface.sandbox.rented_job import JOB, RentedJob, is_for_a_training
from peft_studio_testkit.sandbox import JobTable
from peft_studio_testkit.sandbox.clock import Clock

#: Real seconds after which a silent log says that it is still there.
_KEEP_ALIVE: Final = 30


class JobRoutes:
    """Under `/api/jobs`."""

    def __init__(self, jobs: JobTable, accounts: Accounts, clock: Clock, page_size: Callable[[], int]) -> None:
        self._jobs = jobs
        self._accounts = accounts
        self._clock = clock
        self._page_size = page_size

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            Route("/api/jobs/hardware", self.hardware),
            Route("/api/jobs/{namespace}", self.run, methods=["POST"]),
            Route("/api/jobs/{namespace}", self.list),
            Route("/api/jobs/{namespace}/{id}", self.show),
            Route("/api/jobs/{namespace}/{id}/cancel", self.cancel, methods=["POST"]),
            Route("/api/jobs/{namespace}/{id}/logs", self.logs),
        ]

    async def hardware(self, request: Request) -> Response:
        """Every flavour with its price."""
        return JSONResponse([flavor.document() for flavor in FLAVORS])

    async def run(self, request: Request) -> Response:
        """A new job. Two of these are two jobs."""
        token = self._permitted(request)
        body = await request.json()
        _check(body)
        if not token.account.can_pay:
            raise Refusal(402, "Payment Required: Jobs need a positive credit balance.")
        received = {"namespace": request.path_params["namespace"], **body}
        tag = body["environment"][JOB] if is_for_a_training(body) else None
        job = self._jobs.add(received, id=secrets.token_hex(12), tag=tag, is_held=tag is not None)
        return JSONResponse(_of_hub(job).document())

    async def list(self, request: Request) -> Response:
        """Those of a namespace in one of the stages and with all of the labels, the newest first."""
        self._permitted(request)
        stages, labels = request.query_params.getlist("stage"), request.query_params.getlist("label")
        jobs = [_of_hub(job) for job in reversed([*self._jobs.values()])]
        found = [
            job.document()
            for job in jobs
            if job.namespace == request.path_params["namespace"]
            and (not stages or job.stage in stages)
            and set(labels) <= {f"{key}={value}" for key, value in job.asked.get("labels", {}).items()}
        ]
        return page(request, found, self._page_size())

    async def show(self, request: Request) -> Response:
        """One job."""
        return JSONResponse(self._job(request).document())

    async def cancel(self, request: Request) -> Response:
        """Stop it for good; one that is over stays as it is."""
        job = self._job(request)
        if isinstance(job, RentedJob):
            await asyncio.to_thread(job.finish, "CANCELED")  # what runs takes a moment to end
        else:
            job.cancel()
        return JSONResponse(job.document())

    async def logs(self, request: Request) -> Response:
        """Its lines from the start, or the last few, and those to come, as server-sent events."""
        job = self._job(request)
        tail = request.query_params.get("tail")
        skipped = 0 if tail is None else max(0, len(job.dated_lines) - int(tail))
        return StreamingResponse(_events(self._lines(job, skipped)), media_type="text/event-stream")

    async def _lines(self, job: JobOfHub, sent: int) -> AsyncIterator[dict[str, str]]:
        while True:
            is_over = job.is_gone  # before the lines: what was written until then is all there is
            for date, line in job.dated_lines[sent:]:
                sent += 1
                yield {"data": line, "timestamp": date}
            if is_over:
                return
            await self._clock.until(lambda seen=sent: len(job.dated_lines) > seen or job.is_gone)  # type: ignore[misc]  # bound now

    def _job(self, request: Request) -> JobOfHub:
        self._permitted(request)
        job = self._jobs.get(request.path_params["id"])
        if job is None or _of_hub(job).namespace != request.path_params["namespace"]:
            raise Refusal(404, "Job not found")
        return _of_hub(job)

    def _permitted(self, request: Request) -> Token:
        token = self._accounts.known(request)
        if not token.account.may_write(request.path_params["namespace"]) or not token.may("job.write"):
            raise Refusal(403, "Forbidden: this token may not start and manage Jobs in this namespace.")
        return token


async def _events(lines: AsyncIterator[dict[str, str]]) -> AsyncIterator[bytes]:
    """With a sign of life when there is nothing to say."""
    while True:
        following = asyncio.ensure_future(anext(lines, None))
        try:
            while not (await asyncio.wait([following], timeout=_KEEP_ALIVE))[0]:
                yield b": keep-alive\n\n"
        finally:
            following.cancel()
        if (line := following.result()) is None:
            return
        yield f"data: {json.dumps(line, ensure_ascii=False)}\n\n".encode()


def _check(body: dict[str, Any]) -> None:
    """What the Hub would not run. Raises `Refusal`."""
    if body.get("flavor", "cpu-basic") not in {flavor.name for flavor in FLAVORS}:
        raise Refusal(400, f"Invalid flavor: {body['flavor']}")
    if ("dockerImage" in body) == ("spaceId" in body):
        raise Refusal(400, "a job needs either dockerImage or spaceId")
    if not isinstance(body.get("command", []), list):
        raise Refusal(400, "command must be a list of texts")
    timeout = body.get("timeoutSeconds", 1)
    if not isinstance(timeout, int) or timeout < 1:
        raise Refusal(400, "timeoutSeconds must be a positive integer")


def _of_hub(job: object) -> JobOfHub:
    assert isinstance(job, JobOfHub)
    return job

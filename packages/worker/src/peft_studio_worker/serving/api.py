"""The HTTP API of a rented machine, for the client that rented it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import PurePosixPath
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from peft_studio.errors import InvalidConfig
from peft_studio.training_config import TrainingConfig
from peft_studio_worker import __version__
from peft_studio_worker.serving.downloads import Downloads
from peft_studio_worker.serving.following import Events
from peft_studio_worker.serving.inputs import DIGEST, SUFFIX, is_place
from peft_studio_worker.serving.job_run import Conflict
from peft_studio_worker.serving.machine import Machine
from peft_studio_worker.serving.problems import HEALTH, Gate, answer_crash, answer_http_exception, problem
from peft_studio_worker.serving.settings import parse_time
from peft_studio_worker.serving.uploads import Uploads

API: Final = 1
#: Largest JSON body, bytes.
MOST_JSON: Final = 1 << 20
_INPUT_FIELDS: Final = ("sha256", "size", "suffix", "place")
#: Fields that are the client's business: a rented machine has neither its folders nor its trackers.
_CLIENTS_OWN: Final = ("output_dir", "provider", "resource_id", "experiment_tracker")


class BadRequest(Exception):
    """A body that cannot be used: status, sentence, and every single fault."""

    def __init__(self, status: int, detail: str, errors: tuple[str, ...] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.errors = errors


def application(machine: Machine, token: str, closing: asyncio.Event) -> Starlette:
    """The API for one machine."""
    jobs, uploads, downloads = Jobs(machine), Uploads(machine.inputs, machine.visits), Downloads(machine)
    routes = [
        Route(HEALTH, _health, methods=["GET"]),
        Route("/v1/inputs/{sha256}", uploads.head, methods=["HEAD"]),
        Route("/v1/inputs/{sha256}", uploads.put, methods=["PUT"]),
        Route("/v1/job", jobs.get, methods=["GET"]),
        Route("/v1/job", jobs.put, methods=["PUT"]),
        Route("/v1/events", Events(machine.run, closing).get, methods=["GET"]),
        Route("/v1/artifact", downloads.manifest, methods=["GET"]),
        Route("/v1/artifact/{path:path}", downloads.file, methods=["GET"]),
        Route("/v1/stop", jobs.stop, methods=["POST"]),
        Route("/v1/resume", jobs.resume, methods=["POST"]),
        Route("/v1/ack", jobs.acknowledge, methods=["POST"]),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Gate, token=token, visits=machine.visits)],
        exception_handlers={
            HTTPException: answer_http_exception,
            BadRequest: _answer_bad_request,
            Conflict: _answer_conflict,
            Exception: answer_crash,
        },
    )


class Jobs:
    """`/v1/job` and what can be done to it. Whatever touches the disk runs in a thread."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    async def get(self, request: Request) -> Response:
        """The job as it is now."""
        return await self._answer()

    async def put(self, request: Request) -> Response:
        """Accept a job whose inputs are here."""
        job = read_job(await _json(request))
        missing = [each["sha256"] for each in job["inputs"] if not await asyncio.to_thread(self._is_here, each)]
        if missing:
            return problem(409, f"inputs are missing: {', '.join(missing)}", missing=missing)
        is_new = await asyncio.to_thread(self._submit, job)
        return await self._answer(201 if is_new else 200)

    async def stop(self, request: Request) -> Response:
        """Pause or cancel."""
        action = (await _json(request)).get("action")
        if action not in ("pause", "cancel"):
            raise BadRequest(422, 'action must be "pause" or "cancel"')
        return await self._do(lambda: self._machine.stop(action))

    async def resume(self, request: Request) -> Response:
        """Go on."""
        return await self._do(self._machine.resume)

    async def acknowledge(self, request: Request) -> Response:
        """The client needs this machine no more."""
        body = await _json(request)
        if body.get("abandon") is True:
            return await self._do(self._machine.abandon)
        manifest = body.get("manifest")
        if not isinstance(manifest, str) or not DIGEST.fullmatch(manifest):
            raise BadRequest(422, "manifest must be the sha256 of the artifact's manifest, in lower-case hex")
        return await self._do(lambda: self._machine.acknowledge(manifest))

    async def _do(self, action: Callable[[], None]) -> Response:
        await asyncio.to_thread(action)
        return await self._answer()

    async def _answer(self, status: int = 200) -> Response:
        return JSONResponse(await asyncio.to_thread(self._machine.document), status)

    def _is_here(self, wanted: dict[str, Any]) -> bool:
        progress = self._machine.inputs.progress(wanted["sha256"])
        return progress is not None and progress.is_complete and progress.offset == wanted["size"]

    def _submit(self, job: dict[str, Any]) -> bool:
        if not self._machine.run.has_job:
            for each in job["inputs"]:
                if "place" in each:
                    self._machine.inputs.put_at(each["sha256"], each["place"])
                else:
                    self._machine.inputs.name(each["sha256"], each["suffix"])
        return self._machine.submit(job)


def read_job(body: dict[str, Any]) -> dict[str, Any]:
    """The job in a body, as it is kept. Raises `BadRequest` with every fault."""
    inputs = body.get("inputs")
    if not isinstance(inputs, list) or not all(map(_is_input, inputs)):
        raise BadRequest(422, "inputs must be a list of objects with sha256, size, and suffix or place")
    inputs = [{name: each[name] for name in _INPUT_FIELDS if each.get(name) is not None} for each in inputs]
    _require_room([each["place"] for each in inputs if "place" in each])
    config = body.get("config")
    if not isinstance(config, dict):
        raise BadRequest(422, "config must be an object")
    config = {name: value for name, value in config.items() if name not in _CLIENTS_OWN}
    try:
        wanted = TrainingConfig.from_dict(config)
    except InvalidConfig as error:
        raise BadRequest(422, str(error), tuple(str(each) for each in error.problems)) from error
    names = [f"inputs/{each['place'] if 'place' in each else each['sha256'] + each['suffix']}" for each in inputs]
    if wanted.dataset_path not in names:
        raise BadRequest(422, "dataset_path must be one of the inputs: inputs/<sha256><suffix>")
    model = wanted.base_model
    if model.startswith("inputs/") and not any(name == model or name.startswith(f"{model}/") for name in names):
        raise BadRequest(422, "base_model must be the place of an input, or the folder of several")
    return {
        "created": _created(body.get("created")),
        "hourly_rate": _rate(body.get("hourly_rate")),
        "config": wanted.to_dict(),
        "inputs": inputs,
    }


def _is_input(item: Any) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("size"), int):
        return False
    digest, suffix, place = item.get("sha256"), item.get("suffix", ""), item.get("place")
    if not isinstance(digest, str) or not DIGEST.fullmatch(digest):
        return False
    if place is not None:
        return isinstance(place, str) and is_place(place)
    return "suffix" in item and isinstance(suffix, str) and bool(SUFFIX.fullmatch(suffix))


def _require_room(places: list[str]) -> None:
    """Refuse two files at one place, and a file where another needs a folder."""
    folders = {str(folder) for place in places for folder in PurePosixPath(place).parents}
    taken = [place for place in places if places.count(place) > 1 or place in folders]
    if taken:
        raise BadRequest(422, f"two inputs need the place {taken[0]!r}")


def _created(text: Any) -> str:
    if text is None:
        return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    try:
        parse_time(text)
    except (ValueError, TypeError, OverflowError) as error:
        raise BadRequest(422, f"created {error}") from error
    return str(text)


def _rate(value: Any) -> str | None:
    if value is None:
        return None
    try:
        rate = Decimal(str(value))
    except InvalidOperation:
        rate = Decimal("NaN")
    if not rate.is_finite() or rate < 0:
        raise BadRequest(422, "hourly_rate must be an amount of US dollars, 0 or more")
    return str(rate)


async def _json(request: Request) -> dict[str, Any]:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_JSON:
            raise BadRequest(413, f"a JSON body may have {MOST_JSON} bytes at most")
    try:
        value = json.loads(body)
    except ValueError:
        raise BadRequest(400, "the body is not JSON") from None
    if not isinstance(value, dict):
        raise BadRequest(422, "the body must be a JSON object")
    return value


async def _health(request: Request) -> Response:
    return JSONResponse({"worker": __version__, "api": API})


async def _answer_bad_request(request: Request, error: Exception) -> Response:
    assert isinstance(error, BadRequest)
    if error.errors:
        return problem(error.status, str(error), errors=list(error.errors))
    return problem(error.status, str(error))


async def _answer_conflict(request: Request, error: Exception) -> Response:
    return problem(409, str(error))

"""POST /files/{entity}/{project}/{run}/file_stream: rows, console, summary, heartbeat and the end of a run."""

from __future__ import annotations

import json
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from peft_studio_wandb.sandbox.problems import Refusal
from peft_studio_wandb.sandbox.runs import WandbRun, Workspace

HISTORY: Final = "wandb-history.jsonl"
EVENTS: Final = "wandb-events.jsonl"
OUTPUT: Final = "output.log"
SUMMARY: Final = "wandb-summary.json"


class FileStream:
    """The handler."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def routes(self) -> list[Route]:
        """Its path."""
        return [Route("/files/{entity}/{project}/{run}/file_stream", self.take, methods=["POST"])]

    async def take(self, request: Request) -> Response:
        """One piece of a run; all of it or nothing."""
        run = self._run(**request.path_params)
        sent = _document(await request.body())
        files = {name: _lines(name, part) for name, part in (sent.get("files") or {}).items()}
        now = self._workspace.clock.now()
        for name, (offset, content) in files.items():
            _write(run, name, offset, content, now)
        _note(run, sent, now)
        return JSONResponse({"stopped": run.stopped, "limits": {}, "exitcode": run.exitcode})

    def _run(self, entity: str, project: str, run: str) -> WandbRun:
        known = self._workspace.project(entity, project)
        if known is None or run not in known.runs:
            raise Refusal(404, "run not found")
        return known.runs[run]


def _document(body: bytes) -> dict[str, Any]:
    try:
        sent = json.loads(body)
    except ValueError as error:
        raise Refusal(400, f"the body is no JSON: {error}") from error
    if not isinstance(sent, dict):
        raise Refusal(400, "the body is no JSON object")
    return sent


def _lines(name: str, part: Any) -> tuple[int, list[str]]:
    """Offset and lines of one file, checked before anything is written."""
    offset, content = part.get("offset", 0), part["content"]
    if not isinstance(offset, int) or offset < 0 or not all(isinstance(line, str) for line in content):
        raise Refusal(400, f"{name}: an offset is a number, and each line a text")
    if name in (HISTORY, EVENTS, SUMMARY):
        rows = [_document(line.encode()) for line in content]
        if name == HISTORY and not all(isinstance(row.get("_step"), int) for row in rows):
            raise Refusal(400, f"{name}: a row has no _step")
    return offset, content


def _write(run: WandbRun, name: str, offset: int, content: list[str], now: float) -> None:
    if name == SUMMARY:
        if content:
            run.sum_up(content[-1], now)
        return
    lines = {HISTORY: run.history, EVENTS: run.events, OUTPUT: run.output}.get(name)
    if lines is None:
        raise Refusal(400, f"unknown file {name}")
    lines.write(offset, content, now)


def _note(run: WandbRun, sent: dict[str, Any], now: float) -> None:
    """What a request says besides lines; by itself it says that the run is alive."""
    run.heartbeat = now
    run.word = "running"
    run.uploaded |= set(sent.get("uploaded") or ())
    run.preempting = bool(sent.get("preempting"))
    run.exitcode = int(sent.get("exitcode") or 0) if sent.get("complete") else None

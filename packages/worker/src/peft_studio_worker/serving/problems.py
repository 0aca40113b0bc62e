"""Errors as problem+json, and the gate that lets in only who has the job's token."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from peft_studio_worker.serving.visits import Visits

#: The one address that anybody may ask.
HEALTH = "/v1/health"


def problem(status: int, detail: str, headers: dict[str, str] | None = None, **more: object) -> JSONResponse:
    """An error answer."""
    body = {"title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return JSONResponse(body, status, headers, media_type="application/problem+json")


async def answer_http_exception(request: Request, error: Exception) -> Response:
    """What the router refuses: unknown addresses and methods."""
    assert isinstance(error, HTTPException)
    return problem(error.status_code, error.detail, dict(error.headers or {}))


async def answer_crash(request: Request, error: Exception) -> Response:
    """A fault of ours; what it was stands on stderr."""
    return problem(500, f"the worker met {type(error).__name__}; its own stderr says more")


class Gate:
    """Lets in who has the token, and notes when."""

    def __init__(self, app: ASGIApp, token: str, visits: Visits) -> None:
        self._app = app
        self._expected = f"Bearer {token}".encode()
        self._visits = visits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] == HEALTH:
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(given, self._expected):
            headers = {"www-authenticate": "Bearer"}
            await problem(401, "the token of this job is missing or wrong", headers)(scope, receive, send)
            return
        with self._visits.visit():
            await self._app(scope, self._noted(receive), self._noted(send))

    def _noted(self, pass_on: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def noted(*message: Message) -> Any:
            passed = await pass_on(*message)
            self._visits.note()
            return passed

        return noted

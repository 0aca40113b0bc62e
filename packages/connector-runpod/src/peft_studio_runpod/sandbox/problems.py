"""Refusals as RunPod words them: problem+json from the API, and pages that are no JSON from the edge before it."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

#: The one text by which a client knows that there is no capacity: it has no code of its own.
NO_CAPACITY: Final = (
    "There are no longer any instances available with the requested specifications. Please refresh and try again."
)

#: What the edge answers in the platform's place, by its number: status and body.
EDGE_PAGES: Final = {
    502: (502, "<html><head><title>502 Bad Gateway</title></head><body>cloudflare</body></html>"),
    524: (524, "<html><head><title>524: A timeout occurred</title></head><body>cloudflare</body></html>"),
    1010: (403, "error code: 1010"),
}


class Refusal(Exception):
    """The platform says no."""

    def __init__(self, status: int, detail: str, *, errors: list[str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors


def problem(
    status: int, detail: str, *, errors: list[str] | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """An error of the API."""
    title = "Unprocessable Entity" if status == 422 else HTTPStatus(status).phrase  # newer Pythons call it Content
    body = {"title": title, "status": status, "detail": detail}
    content = body if errors is None else {**body, "errors": errors}
    return JSONResponse(content, status, headers=headers, media_type="application/problem+json")


def edge_page(number: int) -> Response:
    """An error of the edge."""
    status, body = EDGE_PAGES[number]
    kind = "text/html; charset=utf-8" if body.startswith("<") else "text/plain; charset=utf-8"
    return PlainTextResponse(body, status, media_type=kind)


async def on_refusal(request: Request, error: Exception) -> Response:
    """Answer a refusal."""
    assert isinstance(error, Refusal)
    return problem(error.status, error.detail, errors=error.errors)


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answer what no route takes."""
    assert isinstance(error, HTTPException)
    known = {404: "resource not found", 405: "The requested method is not allowed for this path."}
    return problem(error.status_code, known.get(error.status_code, error.detail), headers=error.headers)

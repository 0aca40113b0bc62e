"""Refusals as the Hub words them: a JSON body for people, and a code in the headers, by which clients know the case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response


class Refusal(Exception):
    """The Hub says no."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        **body: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})
        self.body = body

    def response(self) -> Response:
        """The answer."""
        line = " ".join(self.message.split())
        told = {"x-error-message": line.encode("ascii", "replace").decode()}
        if self.code is not None:
            told["x-error-code"] = self.code
        return JSONResponse({"error": self.message, **self.body}, self.status, headers={**told, **self.headers})


def no_repository(*, is_known: bool) -> Refusal:
    """What is missing and what is hidden look the same; without a token it even looks like a missing token."""
    if is_known:
        return Refusal(404, "Repository not found", "RepoNotFound")
    return Refusal(401, "Invalid username or password.", "RepoNotFound")


async def on_refusal(request: Request, error: Exception) -> Response:
    """Answer a refusal."""
    assert isinstance(error, Refusal)
    return error.response()


async def on_http_error(request: Request, error: Exception) -> Response:
    """Answer what no route takes."""
    assert isinstance(error, HTTPException)
    return Refusal(error.status_code, error.detail, headers=error.headers).response()

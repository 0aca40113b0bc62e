"""Refusals as W&B words them: `errors` from GraphQL, `error` from everything else, XML from the storage."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

#: What a wrong key is told.
NOT_LOGGED_IN: Final = "user is not logged in"


class Refusal(Exception):
    """The platform says no. `code` stands in the `extensions` of a GraphQL error."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code


def permission_denied() -> Refusal:
    """What somebody hears who writes for an entity that is not theirs, or that does not exist."""
    return Refusal(403, "permission denied", "PERMISSION_ERROR")


async def on_refusal(request: Request, error: Exception) -> Response:
    """Answer a refusal outside GraphQL."""
    assert isinstance(error, Refusal)
    return JSONResponse({"error": error.message}, error.status)


def storage_error(status: int, code: str) -> Response:
    """An error of the storage behind signed addresses."""
    body = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code></Error>"
    return Response(body, status, media_type="application/xml")

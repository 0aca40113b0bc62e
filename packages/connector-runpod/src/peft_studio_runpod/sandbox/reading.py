"""Bodies of requests, within the limits that the platform has for them."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request

from peft_studio_runpod.sandbox.problems import Refusal

#: Bytes.
MOST: Final = 102_400


async def read_json(request: Request) -> Any:
    """The body; 400 for what is no JSON, 413 for more than 100 KiB."""
    body = await request.body()
    if len(body) > MOST:
        raise Refusal(413, "request body too large")
    try:
        return await request.json()
    except ValueError as error:
        raise Refusal(400, "request body is not valid JSON") from error

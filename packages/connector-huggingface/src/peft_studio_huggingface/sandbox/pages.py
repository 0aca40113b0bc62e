"""Lists in pages: the address of the next one stands in the `Link` header, whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from peft_studio_testkit.sandbox.pages import paginate


def page(request: Request, items: Sequence[Any], size: int) -> Response:
    """The page that the request asks for."""
    found = paginate(items, request.query_params.get("cursor"), size)
    if found.next_cursor is None:
        return JSONResponse(found.items)
    following = request.url.include_query_params(cursor=found.next_cursor)
    return JSONResponse(found.items, headers={"link": f'<{following}>; rel="next"'})

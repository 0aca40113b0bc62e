"""What arrived at a sandbox, request by request."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.parse import parse_qsl

from attrs import define
from starlette.types import Scope

#: Where a request's scope holds its `Received`.
RECEIVED: Final = "peft_studio.received"
#: What stands for the method of a websocket.
WEBSOCKET: Final = "WEBSOCKET"


@define(kw_only=True)
class Received:
    """One request."""

    method: str
    path: str
    #: In the order in which they stood in the address.
    query: list[tuple[str, str]]
    #: Names in lower case; of a header that came twice, both values joined by a comma.
    headers: dict[str, str]
    #: When it arrived, on the platform's clock.
    at: float
    #: Its first bytes, 1 MiB at most.
    body: bytes = b""
    #: How long the body was in all, bytes, as far as it was read.
    size: int = 0
    #: True when the platform did what was asked, whether or not the answer reached the client.
    commit: bool = False
    #: What the platform answered; None while it has not, or never will.
    status: int | None = None
    #: Kind of the fault that struck it.
    fault: str | None = None
    #: True when the exchange is over: answered to the end, or cut.
    done: bool = False

    @classmethod
    def from_scope(cls, scope: Scope, at: float) -> Received:
        """The head of a request."""
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            key, text = name.decode("latin-1").lower(), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        method = scope.get("method", WEBSOCKET)
        return cls(method=method, path=scope["path"], query=query, headers=headers, at=at)

    def json(self) -> Any:
        """The body as JSON. Raises `ValueError` when it is none."""
        return json.loads(self.body)

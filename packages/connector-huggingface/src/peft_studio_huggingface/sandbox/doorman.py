"""What the Hub asks before it does anything: is it too much, and is the token one."""

from __future__ import annotations

import secrets
from typing import Final

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from peft_studio_huggingface.sandbox.accounts import Accounts
from peft_studio_huggingface.sandbox.limits import Limits
from peft_studio_huggingface.sandbox.problems import Refusal

TOO_MANY: Final = "We had to rate limit you: you hit the quota of requests of this period."


class Doorman:
    """Lets requests in, or says why not; what is public may be had without a token."""

    def __init__(self, platform: ASGIApp, accounts: Accounts, limits: Limits) -> None:
        self._platform = platform
        self._accounts = accounts
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        window = self._limits.of(scope["path"])
        is_accepted = window.take()
        headers = {"x-request-id": f"Root=1-{secrets.token_hex(12)}", **window.headers()}
        refusal = self._unknown(HTTPConnection(scope)) if is_accepted else Refusal(429, TOO_MANY)
        answer = self._platform if refusal is None else refusal.response()
        await answer(scope, receive, with_headers(send, headers))

    def _unknown(self, connection: HTTPConnection) -> Refusal | None:
        try:
            self._accounts.token(connection)
        except Refusal as refusal:
            return refusal
        return None


def with_headers(send: Send, headers: dict[str, str]) -> Send:
    """A way to send that adds headers."""
    more = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await send(message)

    return sending

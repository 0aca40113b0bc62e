"""What RunPod asks before it does anything: which program is it, whose key, may it do that, and is it too much."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable
from typing import Final

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from peft_studio_runpod.sandbox.account import Account
from peft_studio_runpod.sandbox.fleet import Fleet
from peft_studio_runpod.sandbox.limits import Limits
from peft_studio_runpod.sandbox.pods import Pod
from peft_studio_runpod.sandbox.problems import edge_page, problem

#: Programs that the edge turns away: those that do not say who they are.
LIBRARY_AGENTS: Final = re.compile(r"$|python-|libwww-perl|java/", re.IGNORECASE)
#: What a pod may do with the key in its environment.
_OWN: Final = (("DELETE", "/v2/pods/{}"), ("POST", "/v2/pods/{}/action"))


class Doorman:
    """Lets REST requests in, or says why not."""

    def __init__(
        self, platform: ASGIApp, fleet: Fleet, account: Account, limits: Limits, key: Callable[[], str]
    ) -> None:
        self._platform = platform
        self._fleet = fleet
        self._account = account
        self._limits = limits
        self._key = key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        send = with_headers(send, {"x-request-id": secrets.token_hex(8)})
        refusal = self._refusal(Request(scope))
        if refusal is None:
            await self._platform(scope, receive, with_headers(send, self._limits.headers()))
        else:
            await refusal(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        if is_library(request):
            return edge_page(1010)
        token = bearer(request)
        pod = pod_of_key(self._fleet.ever, token)
        if not token or (token != self._key() and pod is None):
            return problem(401, "invalid bearer token" if token else "missing bearer token")
        full = self._limits.take()
        headers = self._limits.headers()
        if full is not None:
            detail = f"rate limit exceeded for the {full.name} window"
            return problem(429, detail, headers={**headers, "retry-after": str(full.resets)})
        if pod is None:
            permitted = self._account.permits(request.method, request.url.path)
        else:
            permitted = (request.method, request.url.path) in [(method, path.format(pod.id)) for method, path in _OWN]
        return None if permitted else problem(403, "access denied", headers=headers)


def is_library(request: HTTPConnection) -> bool:
    """True for an agent that the edge does not like."""
    return LIBRARY_AGENTS.match(request.headers.get("user-agent", "")) is not None


def bearer(request: HTTPConnection) -> str:
    """The key that came; empty without one."""
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if kind.lower() == "bearer" else ""


def pod_of_key(pods: Iterable[Pod], token: str) -> Pod | None:
    """The pod whose key it is."""
    return next((pod for pod in pods if secrets.compare_digest(pod.key.encode(), token.encode())), None)


def with_headers(send: Send, headers: dict[str, str]) -> Send:
    """A way to send that adds headers which the answer does not have yet."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = {name for name, _ in message.get("headers", ())}
            more = [(name.encode(), value.encode()) for name, value in headers.items() if name.encode() not in there]
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await send(message)

    return sending

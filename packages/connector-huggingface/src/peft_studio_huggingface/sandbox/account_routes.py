"""Who am I."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from peft_studio_huggingface.sandbox.accounts import Accounts, whoami


class AccountRoutes:
    """`/api/whoami-v2`."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts = accounts

    def routes(self) -> list[Route]:
        """The one."""
        return [Route("/api/whoami-v2", self.show)]

    async def show(self, request: Request) -> Response:
        """The user behind the token, and what the token may do."""
        return JSONResponse(whoami(self._accounts.known(request)))

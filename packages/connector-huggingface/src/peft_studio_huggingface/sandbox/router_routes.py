"""Inference Providers: the router that asks one of them, and sends the bill to whom it is told."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from peft_studio_huggingface.sandbox.accounts import Accounts, Token
from peft_studio_huggingface.sandbox.pretended_answers import chat
from peft_studio_huggingface.sandbox.problems import Refusal
from peft_studio_huggingface.sandbox.serving import Serving

#: In place of a provider's name.
_CHOICES = ("fastest", "cheapest", "preferred")


class RouterRoutes:
    """`/v1/chat/completions`."""

    def __init__(self, serving: Serving, accounts: Accounts) -> None:
        self._serving = serving
        self._accounts = accounts

    def routes(self) -> list[Route]:
        """The one."""
        return [Route("/v1/chat/completions", self.chat, methods=["POST"])]

    async def chat(self, request: Request) -> Response:
        """One answer, and its price to be paid."""
        token, body = self._accounts.known(request), await request.json()
        payer = self._payer(request, token)
        model, _, provider = str(body.get("model")).partition(":")
        providers = self._serving.providers.get(model, ())
        if not providers or (provider and provider not in (*providers, *_CHOICES)):
            raise Refusal(400, f"The requested model '{body.get('model')}' is not supported by any provider")
        if not token.account.can_pay:
            raise Refusal(402, "You have exceeded your monthly included credits for Inference Providers.")
        self._serving.routed.append((payer, body))
        return JSONResponse(chat(model))

    def _payer(self, request: Request, token: Token) -> str:
        if not token.may("inference.serverless.write"):
            raise Refusal(403, "Forbidden: this token may not call Inference Providers.")
        payer = request.headers.get("x-hf-bill-to", token.account.name)
        if not token.account.may_write(payer):
            raise Refusal(403, f"Forbidden: {payer} cannot be billed by this token.")
        return payer

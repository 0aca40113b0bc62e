"""The API of inference endpoints, which has an address of its own, and the health of what is served."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from peft_studio_huggingface.sandbox.accounts import Accounts
from peft_studio_huggingface.sandbox.hub import Hub
from peft_studio_huggingface.sandbox.pretended_answers import answer_to
from peft_studio_huggingface.sandbox.problems import Refusal
from peft_studio_huggingface.sandbox.served import Endpoint
from peft_studio_huggingface.sandbox.serving import Serving

#: Where what is served can be asked; below its root for engines that speak OpenAI's API.
_PLACES: Final = ("", "/v1/chat/completions", "/v1/completions", "/v1/embeddings")


class EndpointRoutes:
    """Under `/v2`, and `/served` for the endpoints themselves."""

    def __init__(self, serving: Serving, hub: Hub, origin: Callable[[], str]) -> None:
        self._serving = serving
        self._accounts: Accounts = hub.accounts
        self._hub = hub
        self._origin = origin

    def routes(self) -> list[Route]:
        """All of them."""
        one = "/v2/endpoint/{namespace}/{name}"
        return [
            Route("/v2/provider/{namespace}", self.offers),
            Route("/v2/endpoint/{namespace}", self.list),
            Route("/v2/endpoint/{namespace}", self.create, methods=["POST"]),
            Route(one, self.show),
            Route(one, self.delete, methods=["DELETE"]),
            Route(one + "/{action}", self.act, methods=["POST"]),
            Route("/served/{namespace}/{name}/health", self.health),
            *(Route("/served/{namespace}/{name}" + place, self.ask, methods=["POST"]) for place in _PLACES),
        ]

    async def offers(self, request: Request) -> Response:
        """What can be had, with prices."""
        self._permitted(request)
        region = {"name": "us-east-1", "computes": [instance.document() for instance in self._serving.instances]}
        return JSONResponse({"vendors": [{"name": "aws", "regions": [region]}]})

    async def list(self, request: Request) -> Response:
        """All of a namespace."""
        namespace = self._permitted(request)
        found = [each for each in self._serving.endpoints.values() if each.namespace == namespace]
        return JSONResponse({"items": [each.document(self._origin()) for each in found]})

    async def create(self, request: Request) -> Response:
        """A new one, of a repository that its owner can read."""
        namespace, token, wanted = self._permitted(request), self._accounts.known(request), await request.json()
        id, compute = f"{namespace}/{wanted['name']}", wanted["compute"]
        if id in self._serving.endpoints:
            raise Refusal(409, f"{id} exists already")
        if not token.account.can_pay:
            raise Refusal(402, "Payment Required: endpoints need a way to pay.")
        self._hub.find(wanted["model"]["repository"], token)
        kind = (compute["instanceType"], compute["instanceSize"])
        instance = next((each for each in self._serving.instances if (each.type, each.size) == kind), None)
        if instance is None or wanted["provider"] != {"vendor": "aws", "region": "us-east-1"}:
            raise Refusal(400, f"there is no {' '.join(kind)} at {' '.join(wanted['provider'].values())}")
        if instance.status == "not_available" or instance.used + instance.count > instance.most:
            raise Refusal(400, f"Quota exceeded or not available: {instance.type} {instance.size}")
        return JSONResponse(self._serving.begin(namespace, wanted, instance).document(self._origin()))

    async def show(self, request: Request) -> Response:
        """One endpoint."""
        return JSONResponse(self._endpoint(request).document(self._origin()))

    async def delete(self, request: Request) -> Response:
        """Gone for good."""
        found = self._endpoint(request)
        del self._serving.endpoints[found.id]
        return JSONResponse({})

    async def act(self, request: Request) -> Response:
        """Pause, resume, scale to zero."""
        found, action = self._endpoint(request), request.path_params["action"]
        if action == "pause":
            found.turn("paused")
        elif action == "scale-to-zero":
            found.turn("scaledToZero")
        elif action != "resume":
            raise Refusal(404, f"endpoints cannot {action}")
        elif found.rest is None:
            raise Refusal(400, f"{found.name} is already running")
        else:
            found.turn(None)
        return JSONResponse(found.document(self._origin()))

    async def health(self, request: Request) -> Response:
        """Whether it answers. To ask one that was scaled to zero wakes it."""
        self._awake(request)
        return JSONResponse({})

    async def ask(self, request: Request) -> Response:
        """An answer that pretends, in the shape of the place that was asked."""
        found, payload = self._awake(request), await request.json()
        found.invocations.append(payload)
        place = request.url.path.removeprefix(f"/served/{found.id}")
        return JSONResponse(answer_to(place, payload, found.model))

    def _awake(self, request: Request) -> Endpoint:
        """Whoever may read the model may ask it. Raises `Refusal` while it is not up."""
        found = self._serving.endpoints.get("{namespace}/{name}".format(**request.path_params))
        if found is None:
            raise Refusal(404, "Not Found")
        if found.wanted.get("type") != "public":
            self._hub.find(found.model, self._accounts.known(request))
        if not found.is_up_for_a_request():
            raise Refusal(400 if found.rest == "paused" else 503, "Service Unavailable")
        return found

    def _endpoint(self, request: Request) -> Endpoint:
        id = f"{self._permitted(request)}/{request.path_params['name']}"
        if id not in self._serving.endpoints:
            raise Refusal(404, f"{id} does not exist")
        return self._serving.endpoints[id]

    def _permitted(self, request: Request) -> str:
        token, namespace = self._accounts.known(request), str(request.path_params["namespace"])
        if not token.account.may_write(namespace) or not token.may("inference.endpoints.write"):
            raise Refusal(403, "Forbidden: this token may not manage endpoints in this namespace.")
        return namespace

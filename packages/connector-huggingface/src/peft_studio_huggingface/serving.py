"""Models that are served: on endpoints of one's own, and by Inference Providers through the Hub's router.

An endpoint's name says what was wished for, and no two of a namespace have the same. So a deployment whose answer was
lost is found by asking for the same again, and nothing is ever made, and paid for, twice.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from abc import abstractmethod
from collections.abc import Mapping
from decimal import Decimal
from http import HTTPStatus
from itertools import count
from pathlib import Path
from typing import Any, Final

from peft_studio import (
    ConnectionFailed,
    Deployment,
    InferenceConnector,
    InvalidConfig,
    InvalidCredentials,
    PlatformError,
    Rental,
    Transport,
    UnsupportedCapability,
)
from peft_studio_huggingface.api import HubApi
from peft_studio_huggingface.endpoints import ASLEEP, PAUSED, Endpoint, chosen
from peft_studio_huggingface.endpoints_api import EndpointsApi
from peft_studio_huggingface.portable import ADAPTER, document
from peft_studio_huggingface.reading import unreadable
from peft_studio_huggingface.repository import RepositoryId
from peft_studio_huggingface.servable import Options, Servable
from peft_studio_huggingface.settings import Settings

#: Deployment ids that name a model of Inference Providers: `router:owner/name`, `router:owner/name:provider`.
ROUTER: Final = "router:"
#: Seconds of silence while a model thinks; unless $PEFT_STUDIO_HTTP_TIMEOUT says otherwise.
_ANSWER_TIME: Final = 300.0
_TIMEOUT: Final = "PEFT_STUDIO_HTTP_TIMEOUT"
#: An endpoint's proxy while nothing listens behind it.
_NOT_UP: Final = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE)
#: Seconds between two attempts: the first, and the longest.
_FIRST_REST, _LONGEST_REST = 0.25, 5.0


class EndpointsOfHub(InferenceConnector):
    """The part of inference. `_api`, `_settings` and what is below are there as long as the connector is connected."""

    _settings: Settings
    _token = ""
    _namespace = ""
    #: Who pays for the router when it is not the token's user.
    _bill_to: str | None = None
    _endpoints_api: EndpointsApi | None = None
    _router: Transport | None = None

    @property
    @abstractmethod
    def _api(self) -> HubApi: ...

    def _open_inference(self, token: str, settings: Settings, user: str) -> None:
        self._namespace = settings.namespace or user
        self._bill_to = None if self._namespace == user else self._namespace
        self._endpoints_api = EndpointsApi(token, settings.endpoints_url) if settings.endpoints_url else None
        self._router = _transport(settings.router_url, token)

    async def _close_inference(self) -> None:
        endpoints, self._endpoints_api = self._endpoints_api, None
        router, self._router = self._router, None
        for each in (endpoints, router):
            if each is not None:
                await each.close()

    async def deploy_model(self, model_id: str, **options: Any) -> str:
        """Serve a model or an adapter on an endpoint, or give the one that does so already; README.md has the options.

        Raises `CapacityError` when no instance can be had, `InsufficientCreditsError` on 402. Raises `ConnectionFailed`
        when the answer was lost: the same call again finds what was made.
        """
        servable = await self._servable(RepositoryId.of(model_id), Options.of(options))
        api, namespace = self._endpoints, self._namespace
        found = await api.find(namespace, servable.name)
        if found is None:
            instance = chosen(await api.instances(namespace), servable.options.instance, self._settings)
            found = await self._created(servable.body(instance, self._settings))
        if found.model != servable.model.id:
            why, remedy = f"it serves {found.model}", "give another name"
            raise PlatformError(f"there is an endpoint {found.id} already", why=why, remedy=remedy)
        if found.state == PAUSED:
            await api.resume(namespace, found.name)
        else:
            found.require_alive()
        return found.id

    async def get_endpoint_url(self, deployment_id: str) -> str:
        """Raises `PlatformError` while it is not up, `ArtifactNotFound` for one that there is not."""
        if deployment_id.startswith(ROUTER):
            return f"{self._settings.router_url}/chat/completions"
        return (await self._endpoint(deployment_id)).address()

    async def invoke_endpoint(self, deployment_id: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Ask it; one that comes up is waited for, as long as `wait_minutes` says.

        What has `messages`, `prompt` or `input` goes to the routes of OpenAI's API, all else to the endpoint's root. A
        list that comes back is in `outputs`. Raises `ConnectionFailed` when it is not up in time.
        """
        if payload.get("stream"):
            raise InvalidConfig("an answer in pieces cannot be given", remedy="leave stream out")
        if deployment_id.startswith(ROUTER):
            return await self._ask_router(deployment_id.removeprefix(ROUTER), payload)
        until = time.monotonic() + self._settings.wait_minutes * 60
        for attempt in count():
            endpoint = await self._endpoint(deployment_id)
            endpoint.require_alive()
            try:
                if endpoint.url is not None:
                    return await self._ask_endpoint(endpoint, payload)
                if endpoint.state == ASLEEP:  # and cannot be woken by being asked
                    await self._endpoints.resume(endpoint.namespace, endpoint.name)
                why: str | None = endpoint.message
            except ConnectionFailed as error:
                if error.http_status not in _NOT_UP:
                    raise
                why = error.why
            rest = min(_FIRST_REST * 2**attempt, _LONGEST_REST)
            if time.monotonic() + rest > until:
                waited, remedy = f"{self._settings.wait_minutes:g} minutes", "ask again, or raise wait_minutes"
                what = f"endpoint {endpoint.id} is not up after {waited}: it is {endpoint.state}"
                raise ConnectionFailed(what, why=why, remedy=remedy)
            await asyncio.sleep(rest)
        raise AssertionError("count never ends")

    async def list_deployments(self) -> list[Deployment]:
        """Every endpoint of the namespace, whoever made it."""
        return [each.deployment for each in await self._endpoints.endpoints(self._namespace)]

    async def stop_deployment(self, deployment_id: str) -> bool:
        """Delete it, and look: True when it is gone."""
        if deployment_id.startswith(ROUTER):
            why = "Inference Providers are paid by the request, and nothing of them stays"
            raise InvalidConfig(f"{deployment_id} is no deployment", why=why)
        place = self._place(deployment_id)
        await self._endpoints.delete(*place)
        return await self._endpoints.find(*place) is None

    async def get_deployment_metrics(self, deployment_id: str) -> Mapping[str, Any]:
        """Its state, how many replicas run and should, and what they cost in an hour now, US dollars."""
        endpoint = await self._endpoint(deployment_id)
        rate = endpoint.hourly_rate(await self._endpoint_rates(endpoint.namespace))
        return {
            "state": endpoint.state,
            "ready_replicas": endpoint.ready,
            "target_replicas": endpoint.target,
            "hourly_rate": rate,
        }

    async def _endpoint_rentals(self) -> list[Rental]:
        """None where they are switched off, and where the token may not see any: it cannot have made one."""
        if self._settings.endpoints_url is None:
            return []
        try:
            found = await self._endpoints.endpoints(self._namespace)
        except InvalidCredentials as error:
            if error.http_status != HTTPStatus.FORBIDDEN:
                raise
            return []
        rates = await self._endpoint_rates(self._namespace) if found else {}
        return [each.rental(rates) for each in found]

    async def _endpoint_rates(self, namespace: str) -> Mapping[tuple[str, ...], Decimal | None]:
        return {each.key: each.hourly_rate for each in await self._endpoints.instances(namespace)}

    @property
    def _endpoints(self) -> EndpointsApi:
        if self._endpoints_api is None and self._router is not None:
            why, remedy = "endpoints_url is off", "set endpoints_url to an address, or leave it out"
            raise UnsupportedCapability("Inference Endpoints are not used", why=why, remedy=remedy)
        if self._endpoints_api is None:
            raise ConnectionFailed("not connected to Hugging Face", remedy="call connect first")
        return self._endpoints_api

    def _place(self, deployment_id: str) -> tuple[str, str]:
        namespace, _, name = deployment_id.rpartition("/")
        return namespace or self._namespace, name

    async def _endpoint(self, deployment_id: str) -> Endpoint:
        return await self._endpoints.endpoint(*self._place(deployment_id))

    async def _created(self, body: Mapping[str, Any]) -> Endpoint:
        """A new one, or the one that somebody made a moment ago."""
        try:
            made = await self._endpoints.create(self._namespace, body)
        except ConnectionFailed as error:
            error.remedy = "it may be there all the same: deploy the same again, and it is found"
            raise
        return made or await self._endpoints.endpoint(self._namespace, body["name"])

    async def _servable(self, id: RepositoryId, options: Options) -> Servable:
        model = await self._api.model(id)
        if model.sha is None:
            raise unreadable(f"{id} has no sha")
        files = {file.path: file for file in await self._api.files(RepositoryId(model.id), model.sha)}
        adapter = None
        if ADAPTER in files:
            with tempfile.TemporaryDirectory(prefix="peft-studio-adapter-") as folder:
                place = Path(folder) / ADAPTER
                await self._api.download(RepositoryId(model.id), model.sha, files[ADAPTER], place)
                adapter = document(place)
        return Servable(model=model, revision=model.sha, adapter=adapter, options=options)

    async def _ask_endpoint(self, endpoint: Endpoint, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        route = _route(payload)
        named = {"model": endpoint.served_as} if route and endpoint.served_as else {}
        async with _transport(str(endpoint.url).rstrip("/"), self._token) as transport:
            answer = await transport.post(*route, json={**named, **payload})
        return answer if isinstance(answer, Mapping) else {"outputs": answer}

    async def _ask_router(self, model: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        if self._router is None:
            raise ConnectionFailed("not connected to Hugging Face", remedy="call connect first")
        if "messages" not in payload:
            raise InvalidConfig("Inference Providers are asked with messages", why=f"there are {', '.join(payload)}")
        headers = {"X-HF-Bill-To": self._bill_to} if self._bill_to else {}
        try:
            answer = await self._router.post("chat", "completions", json={**payload, "model": model}, headers=headers)
        except InvalidCredentials as error:
            error.remedy = "the token needs the permission to make calls to Inference Providers"
            raise
        except PlatformError as error:
            if error.http_status in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND):
                error.remedy = "a model that no provider serves can be served by an endpoint: deploy_model"
            raise
        if not isinstance(answer, Mapping):
            raise unreadable("it is no object")
        return answer


def _transport(url: str, token: str) -> Transport:
    silence = None if _TIMEOUT in os.environ else _ANSWER_TIME
    return Transport(url, headers={"Authorization": f"Bearer {token}"}, secrets=[token], timeout=silence)


def _route(payload: Mapping[str, Any]) -> tuple[str, ...]:
    """Where what is asked so is answered."""
    routes = {"messages": ("v1", "chat", "completions"), "prompt": ("v1", "completions"), "input": ("v1", "embeddings")}
    return next((route for key, route in routes.items() if key in payload), ())

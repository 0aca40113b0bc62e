"""POST /graphql: the old API, as far as its Python client and the account's balance need it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import graphql as language
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from peft_studio_runpod.sandbox import account as accounts
from peft_studio_runpod.sandbox.account import Account
from peft_studio_runpod.sandbox.catalogue import DATA_CENTERS, GPU_TYPES, GpuType, level
from peft_studio_runpod.sandbox.doorman import bearer, is_library, pod_of_key
from peft_studio_runpod.sandbox.fleet import Fleet
from peft_studio_runpod.sandbox.graphql_pods import pod_fields, spec_of, wishes_of
from peft_studio_runpod.sandbox.pods import Pod
from peft_studio_runpod.sandbox.problems import NO_CAPACITY, Refusal, edge_page
from peft_studio_runpod.sandbox.volumes import VolumeTable


class GraphQl:
    """The handler. Nobody is told 401 for having no key: what needs one is null then."""

    def __init__(self, fleet: Fleet, volumes: VolumeTable, account: Account, key: Callable[[], str]) -> None:
        self._fleet = fleet
        self._volumes = volumes
        self._account = account
        self._key = key

    def routes(self) -> list[Route]:
        """Its path."""
        return [Route("/graphql", self.answer, methods=["POST"])]

    async def answer(self, request: Request) -> Response:
        """One document."""
        if is_library(request):
            return edge_page(1010)
        token = bearer(request) or request.query_params.get("api_key", "")
        pod = pod_of_key(self._fleet.ever, token)
        if token and token != self._key() and pod is None:
            return JSONResponse({"error": {}}, 401)
        asked = await request.json()
        caller = Caller(self._fleet, self._volumes, self._account, pod, is_known=bool(token))
        result = await asyncio.to_thread(
            language.graphql_sync, _schema(), asked["query"], root_value=caller,
            variable_values=asked.get("variables"), operation_name=asked.get("operationName"),
        )  # fmt: skip
        errors = [{"message": error.message} for error in result.errors or ()]
        return JSONResponse({"errors": errors, "data": result.data} if errors else {"data": result.data})


class Caller:
    """What somebody with that key may see and do; its methods are the fields of Query and Mutation."""

    def __init__(
        self, fleet: Fleet, volumes: VolumeTable, account: Account, pod: Pod | None, *, is_known: bool
    ) -> None:
        self._fleet = fleet
        self._volumes = volumes
        self._account = account
        #: The pod that asks.
        self._pod = pod
        self._is_known = is_known

    def myself(self, info: Any) -> dict[str, Any] | None:
        """The account."""
        if not self._is_known:
            return None
        self._require_account()
        volumes = [volume.show() for volume in self._volumes.values()]
        return {
            "id": accounts.ID,
            "email": accounts.EMAIL,
            "pubKey": "\n".join(self._account.ssh_keys),
            "clientBalance": float(self._account.balance),
            "currentSpendPerHr": float(self._account.spend_per_hour),
            "networkVolumes": [{**volume, "dataCenterId": volume["dataCenter"]} for volume in volumes],
            "pods": [pod_fields(pod) for pod in self._fleet.values()],
        }

    def pod(self, info: Any, input: dict[str, Any]) -> dict[str, Any] | None:
        """One pod; null for an unknown one."""
        self._require_account()
        pod = self._fleet.get(input["podId"])
        return None if pod is None else pod_fields(pod)

    def gpuTypes(self, info: Any, input: dict[str, Any] | None = None) -> list[dict[str, Any]]:  # noqa: N802 -- its field
        """The catalogue, for everybody."""
        id = (input or {}).get("id")
        return [self._gpu_type(gpu) for gpu in GPU_TYPES if id in (None, gpu.id)]

    def podFindAndDeployOnDemand(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        """Rent where there is something."""
        self._require_account()
        spec = spec_of(input)
        for wish in wishes_of(input):
            try:
                return pod_fields(self._fleet.rent(spec, wish))
            except Refusal as refusal:
                if refusal.detail != NO_CAPACITY:
                    raise
        raise Refusal(400, NO_CAPACITY)

    def podStop(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        """Stop it."""
        return self._act(input, self._fleet.stop_pod)

    def podResume(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        """Start it."""
        return self._act(input, self._fleet.start_pod)

    def podTerminate(self, info: Any, input: dict[str, Any]) -> None:  # noqa: N802
        """Delete it: the one thing that a pod may do to itself."""
        if self._pod is None or self._pod.id != input["podId"]:
            self._require_account()
        self._fleet.delete_pod(self._known(input))

    def _act(self, input: dict[str, Any], act: Callable[[Pod], None]) -> dict[str, Any]:
        self._require_account()
        pod = self._known(input)
        act(pod)
        return pod_fields(pod)

    def _known(self, input: dict[str, Any]) -> Pod:
        if input["podId"] not in self._fleet:
            raise Refusal(404, "Pod not found")
        return self._fleet[input["podId"]]

    def _require_account(self) -> None:
        if not self._is_known or self._pod is not None:
            raise Refusal(403, "Unauthorized")

    def _gpu_type(self, gpu: GpuType) -> dict[str, Any]:
        return {
            "id": gpu.id,
            "displayName": gpu.name,
            "manufacturer": gpu.manufacturer,
            "memoryInGb": gpu.memory,
            "maxGpuCount": gpu.max_count,
            "secureCloud": "SECURE" in gpu.offered,
            "communityCloud": "COMMUNITY" in gpu.offered,
            "securePrice": float(gpu.secure),
            "communityPrice": float(gpu.community),
            "lowestPrice": partial(self._lowest_price, gpu),
        }

    def _lowest_price(self, gpu: GpuType, info: Any, input: dict[str, Any] | None = None) -> dict[str, Any]:
        input = input or {}
        only = {True: ("SECURE",), False: ("COMMUNITY",)}.get(input.get("secureCloud"), gpu.offered)  # type: ignore[arg-type]  # None takes the default
        clouds = [cloud for cloud in only if cloud in gpu.offered]
        free = sum(self._fleet.catalogue.free(gpu.id, cloud, center.id) for cloud in clouds for center in DATA_CENTERS)
        stock = level(free, input.get("gpuCount") or 1)
        versions = [{"cudaVersion": version, "availability": "AVAILABLE"} for version in gpu.cuda]
        return {
            "uninterruptablePrice": min((float(gpu.price(cloud)) for cloud in clouds), default=None),
            "stockStatus": None if stock == "NONE" else stock.capitalize(),
            "gpuTypeCudaVersions": versions,
        }


@cache
def _schema() -> language.GraphQLSchema:
    return language.build_schema(Path(__file__).with_name("schema.graphql").read_text(encoding="utf-8"))

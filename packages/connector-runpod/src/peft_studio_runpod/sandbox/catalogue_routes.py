"""GET /v2/catalog: GPU types and data centres, with the rules of what may be asked together."""

from __future__ import annotations

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from peft_studio_runpod.sandbox.catalogue import (
    GPU_TYPES,
    Catalogue,
    GpuType,
    center_rows,
    cuda_choice,
    gpu_availability,
    gpu_row,
)
from peft_studio_runpod.sandbox.problems import Refusal
from peft_studio_runpod.sandbox.specification import require_query

#: Valid only together with include=AVAILABILITY.
_OF_AVAILABILITY: Final = ("product", "count", "cloud", "countryCodes", "cudaVersions", "minCudaVersion")


class CatalogueRoutes:
    """The handlers."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def routes(self) -> list[Route]:
        """Their paths."""
        return [
            Route("/v2/catalog/gpus", self.gpus),
            Route("/v2/catalog/gpus/{id:path}", self.gpu),
            Route("/v2/catalog/datacenters", self.data_centers),
        ]

    async def gpus(self, request: Request) -> Response:
        """All rows, the sentinel among them."""
        query = _availability_query(request, "/v2/catalog/gpus")
        rows = [self._row(gpu, query) for gpu in GPU_TYPES]
        if query.get("countryCodes"):
            rows = [row for row in rows if row.get("dataCenters")]
        return JSONResponse({"gpus": rows})

    async def gpu(self, request: Request) -> Response:
        """One row."""
        query = _availability_query(request, "/v2/catalog/gpus/{id}")
        for gpu in GPU_TYPES:
            if gpu.id == request.path_params["id"]:
                return JSONResponse(self._row(gpu, query))
        raise Refusal(404, "gpu type not found")

    async def data_centers(self, request: Request) -> Response:
        """All places that the filters let through."""
        query = require_query("/v2/catalog/datacenters", request.query_params.multi_items())
        rows = center_rows(self._catalogue, with_gpus="GPU_AVAILABILITY" in query.get("include", ()))
        return JSONResponse({"dataCenters": [row for row in rows if _passes(row, query)]})

    def _row(self, gpu: GpuType, query: dict[str, Any]) -> dict[str, Any]:
        if "include" not in query:
            return gpu_row(gpu)
        more = gpu_availability(
            self._catalogue, gpu,
            cloud=query.get("cloud", "SECURE"),
            count=query.get("count", 1),
            countries=query.get("countryCodes", ()),
            cuda=cuda_choice(gpu.cuda, query.get("cudaVersions", ()), query.get("minCudaVersion")),
        )  # fmt: skip
        return {**gpu_row(gpu), **more}


def _availability_query(request: Request, path: str) -> dict[str, Any]:
    query = require_query(path, request.query_params.multi_items())
    together = [name for name in _OF_AVAILABILITY if name in query]
    if "include" not in query and together:
        raise Refusal(400, f"{together[0]} is valid only with include=AVAILABILITY")
    if "include" in query and "product" not in query:
        raise Refusal(400, "product is required with include=AVAILABILITY")
    if "cudaVersions" in query and "minCudaVersion" in query:
        raise Refusal(400, "cudaVersions and minCudaVersion are mutually exclusive")
    return query


def _passes(row: dict[str, Any], query: dict[str, Any]) -> bool:
    return (
        ("regions" not in query or row["region"] in query["regions"])
        and set(query.get("networkVolumeTypes", ())) <= set(row["networkVolumeTypes"])
        and set(query.get("compliance", ())) <= set(row["compliance"])
        and query.get("globalNetwork", row["globalNetwork"]) == row["globalNetwork"]
    )

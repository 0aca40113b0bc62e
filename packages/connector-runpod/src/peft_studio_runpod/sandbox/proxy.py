"""The proxy that makes a pod's http ports reachable: `/proxy/{podId}-{port}/...` instead of a host name for each."""

from __future__ import annotations

from typing import Final

import httpx2
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from peft_studio_runpod.sandbox.fleet import Fleet
from peft_studio_runpod.sandbox.pods import PodStatus
from peft_studio_runpod.sandbox.problems import edge_page
from peft_studio_testkit.sandbox.open_ports import InProcess, pass_on

_METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class Proxy:
    """Passes requests on, both bodies as they come; public, as the real one is."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        #: Seconds of real time until a pod has to begin its answer; then 524.
        self.limit = 100.0

    def routes(self) -> list[Route]:
        """Its path."""
        return [Route("/proxy/{pod}-{port:int}/{path:path}", self.forward, methods=_METHODS)]

    async def forward(self, request: Request) -> Response:
        """One request."""
        inside = request.path_params["port"]
        pod = self._fleet.get(request.path_params["pod"])
        if pod is None or inside not in pod.spec.http_ports:
            return PlainTextResponse("not found", 404)
        if pod.worker is not None and pod.status is PodStatus.RUNNING and pod.worker.listens_at(inside):
            path = f"/{request.path_params['path']}"
            return InProcess(pod.worker, path, limit=self.limit, too_late=edge_page(524))
        port = pod.port(inside)
        return edge_page(502) if port is None else await self._forward(request, port)

    async def _forward(self, request: Request, port: int) -> Response:
        try:
            return await pass_on(request, port, self.limit)
        except TimeoutError:
            return edge_page(524)
        except httpx2.TransportError:
            return edge_page(502)

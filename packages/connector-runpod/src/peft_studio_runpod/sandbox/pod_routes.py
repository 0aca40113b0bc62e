"""/v2/pods: create, list, show, change, act and delete."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from peft_studio_runpod.sandbox.fleet import Fleet
from peft_studio_runpod.sandbox.log_stream import log_response
from peft_studio_runpod.sandbox.pods import Pod
from peft_studio_runpod.sandbox.problems import Refusal
from peft_studio_runpod.sandbox.reading import read_json
from peft_studio_runpod.sandbox.rules import changed_spec, spec_of, wish_of
from peft_studio_runpod.sandbox.specification import require_body, require_query
from peft_studio_testkit.sandbox.pages import paginate


class PodRoutes:
    """The handlers. What waits for a process does so in a thread, so that the pod itself can be answered meanwhile."""

    def __init__(self, fleet: Fleet, page_size: int) -> None:
        self._fleet = fleet
        #: Pods on a page at most.
        self._page_size = page_size

    def routes(self) -> list[Route]:
        """Their paths."""
        return [
            Route("/v2/pods", self.list_all),
            Route("/v2/pods", self.create, methods=["POST"]),
            Route("/v2/pods/{id}", self.show),
            Route("/v2/pods/{id}", self.update, methods=["PATCH"]),
            Route("/v2/pods/{id}", self.delete, methods=["DELETE"]),
            Route("/v2/pods/{id}/action", self.act, methods=["POST"]),
            Route("/v2/pods/{id}/logs", self.logs),
        ]

    async def list_all(self, request: Request) -> Response:
        """Those that are not deleted."""
        query = require_query("/v2/pods", request.query_params.multi_items())
        size = min(query.get("limit", 1000), self._page_size)
        page = paginate(list(self._fleet.values()), query.get("cursor"), size)
        pagination = {"hasNextPage": page.next_cursor is not None, "nextCursor": page.next_cursor}
        return JSONResponse({"pods": [pod.show() for pod in page.items], "pagination": pagination})

    async def create(self, request: Request) -> Response:
        """Rent one."""
        body = require_body("CreatePodRequest", await read_json(request))
        wish, spec = wish_of(body), spec_of(body)
        pod = self._fleet.rent(spec, wish)
        pod.global_networking = body.get("globalNetworking", False)
        return JSONResponse(pod.show(), status_code=201)

    async def show(self, request: Request) -> Response:
        """One of them."""
        return JSONResponse(self._of(request).show())

    async def update(self, request: Request) -> Response:
        """Change what is named."""
        pod = self._of(request)
        body = require_body("UpdatePodRequest", await read_json(request))
        spec = changed_spec(pod.spec, body)
        pod.locked = body.get("locked", pod.locked)
        pod.global_networking = body.get("globalNetworking", pod.global_networking)
        await asyncio.to_thread(self._fleet.change_pod, pod, spec)
        return JSONResponse(pod.show())

    async def delete(self, request: Request) -> Response:
        """For good."""
        await asyncio.to_thread(self._fleet.delete_pod, self._of(request))
        return Response(status_code=204)

    async def act(self, request: Request) -> Response:
        """Start, stop, restart, terminate."""
        pod = self._of(request)
        body = require_body("PodActionRequest", await read_json(request))
        acts: dict[str, Any] = {
            "start": self._fleet.start_pod,
            "stop": self._fleet.stop_pod,
            "restart": self._fleet.restart_pod,
            "terminate": self._fleet.delete_pod,
        }
        await asyncio.to_thread(acts[body["action"]], pod)
        return Response(status_code=204) if pod.is_deleted else JSONResponse(pod.show())

    async def logs(self, request: Request) -> Response:
        """Its log as it comes."""
        pod = self._of(request)
        query = require_query("/v2/pods/{id}/logs", request.query_params.multi_items())
        return log_response(pod, query, request.headers.get("last-event-id"))

    def _of(self, request: Request) -> Pod:
        id = request.path_params["id"]
        if id not in self._fleet:
            raise Refusal(404, "pod not found")
        return self._fleet[id]

"""Network volumes: storage that outlives pods, and is billed until it is deleted."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from peft_studio_runpod.sandbox.bill import NETWORK_VOLUME, Bill, Rates, disk_rate
from peft_studio_runpod.sandbox.catalogue import find_data_center
from peft_studio_runpod.sandbox.problems import Refusal
from peft_studio_runpod.sandbox.reading import read_json
from peft_studio_runpod.sandbox.specification import require_body
from peft_studio_runpod.sandbox.timeline import Timeline
from peft_studio_testkit.sandbox.tables import Table


@define(eq=False, kw_only=True)
class Volume:
    """One of them. Size in GB."""

    id: str
    name: str
    size: int
    data_center: str
    type: str
    bill: Bill = field(factory=Bill)

    def show(self) -> dict[str, Any]:
        """As REST v2 tells it."""
        plain = {"id": self.id, "name": self.name, "size": self.size}
        return {**plain, "dataCenter": self.data_center, "type": self.type}


class VolumeTable(Table[Volume]):
    """Those of the account."""

    prefix = "vol"

    def __init__(self, timeline: Timeline) -> None:
        super().__init__()
        self._timeline = timeline
        #: Deleted ones, which are still on the bill.
        self.deleted: list[Volume] = []
        #: Where their files lie; set when the sandbox starts.
        self.root = Path()
        #: Ids of those that a pod has mounted.
        self.mounted: Callable[[], set[str]] = set

    def add(self, name: str, size: int, data_center: str, type: str | None = None) -> Volume:
        """Make one."""
        types = find_data_center(data_center).volume_types
        volume = Volume(
            id=self._free_id(None), name=name, size=size, data_center=data_center, type=type or types[0]
        )  # fmt: skip
        self._charge(volume)
        return self._put(volume.id, volume)

    def folder(self, id: str) -> Path:
        """Where its files lie."""
        return self.root / id

    def required(self, id: str, cloud: str) -> Volume:
        """The volume for a pod in that cloud."""
        if cloud != "SECURE":
            raise Refusal(400, "network volumes are available in the secure cloud only")
        if id not in self:
            raise Refusal(400, f"network volume {id} not found")
        return self[id]

    @property
    def ever(self) -> list[Volume]:
        """Those that are and those that were."""
        return [*self.deleted, *self.values()]

    def clear(self) -> None:
        self.deleted = []
        for id in self:
            shutil.rmtree(self.folder(id), ignore_errors=True)
        super().clear()

    def routes(self) -> list[Route]:
        """The paths of REST v2."""
        return [
            Route("/v2/network-volumes", self.list_all),
            Route("/v2/network-volumes", self.create, methods=["POST"]),
            Route("/v2/network-volumes/{id}", self.show),
            Route("/v2/network-volumes/{id}", self.update, methods=["PATCH"]),
            Route("/v2/network-volumes/{id}", self.delete, methods=["DELETE"]),
        ]

    async def list_all(self, request: Request) -> Response:
        """GET."""
        return JSONResponse({"networkVolumes": [volume.show() for volume in self.values()]})

    async def create(self, request: Request) -> Response:
        """POST."""
        body = require_body("CreateNetworkVolumeRequest", await read_json(request))
        try:
            types = find_data_center(body["dataCenter"]).volume_types
        except KeyError as error:
            raise Refusal(400, f"unknown data center: {body['dataCenter']}") from error
        if not types or body.get("type", types[0]) not in types:
            raise Refusal(400, f"{body['dataCenter']} has no such network volumes")
        volume = self.add(body["name"], body["size"], body["dataCenter"], body.get("type"))
        return JSONResponse(volume.show(), status_code=201)

    async def show(self, request: Request) -> Response:
        """GET one."""
        return JSONResponse(self._of(request).show())

    async def update(self, request: Request) -> Response:
        """PATCH: it can only grow."""
        volume = self._of(request)
        body = require_body("UpdateNetworkVolumeRequest", await read_json(request))
        if body.get("size", volume.size) < volume.size:
            raise Refusal(400, "a network volume cannot shrink")
        volume.name, volume.size = body.get("name", volume.name), body.get("size", volume.size)
        self._charge(volume)
        return JSONResponse(volume.show())

    async def delete(self, request: Request) -> Response:
        """DELETE, unless a pod has it."""
        volume = self._of(request)
        if volume.id in self.mounted():
            raise Refusal(400, "the network volume is in use by a pod")
        del self[volume.id]
        self.deleted.append(volume)
        volume.bill.change(self._timeline.clock.now(), Rates())
        shutil.rmtree(self.folder(volume.id), ignore_errors=True)
        return Response(status_code=204)

    def _charge(self, volume: Volume) -> None:
        volume.bill.change(self._timeline.clock.now(), Rates(disk=disk_rate(volume.size, NETWORK_VOLUME)))

    def _of(self, request: Request) -> Volume:
        id = request.path_params["id"]
        if id not in self:
            raise Refusal(404, "network volume not found")
        return self[id]

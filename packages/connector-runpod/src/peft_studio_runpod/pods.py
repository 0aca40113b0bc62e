"""Pods: what RunPod tells of one, what it is asked for to make one, and how one ends itself from inside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Self

from attrs import field, frozen

from peft_studio import ConnectionFailed, InvalidConfig, Rental
from peft_studio.rented import Launch, Machine, MachineState, Offer
from peft_studio_runpod import __version__
from peft_studio_runpod.prices import running_rate, stopped_rate
from peft_studio_runpod.reading import moment, money, text, whole
from peft_studio_runpod.settings import Settings

USER_AGENT: Final = f"peft-studio-runpod/{__version__}"
#: RunPod's words and ours. A pod that runs may still fetch its image: only the worker tells.
STATES: Final = {
    "PROVISIONING": MachineState.STARTING,
    "STARTING": MachineState.STARTING,
    "RUNNING": MachineState.RUNNING,
    "EXITED": MachineState.STOPPED,
    "ERROR": MachineState.BROKEN,
}
TERMINATED: Final = "TERMINATED"
#: What RunPod takes of a create.
MOST_VARIABLES: Final = 50
MOST_BYTES: Final = 102_400
#: Our variables, by which a pod is found again and reached.
JOB: Final = "PEFT_STUDIO_WORKER_JOB"
TOKEN: Final = "PEFT_STUDIO_WORKER_TOKEN"  # noqa: S105 -- its name
PORT: Final = "PEFT_STUDIO_WORKER_PORT"
#: Tags begin so. A name is looked at only where RunPod does not show the environment.
_TAG: Final = "ps-"


@frozen(kw_only=True)
class Pod:
    """GET /v2/pods/{id}, as far as it is of use here."""

    id: str
    name: str
    status: str
    #: None when RunPod does not show it.
    environment: Mapping[str, Any] | None = field(repr=False)
    gpu: str | None
    #: None when RunPod does not tell; a pod may start again without the GPUs that it had.
    gpu_count: int | None
    cloud: str | None
    #: Its GPUs for an hour now, US dollars.
    cost: Decimal | None
    #: GB.
    disk: int
    volume: int
    created: datetime | None

    @classmethod
    def of(cls, document: Any) -> Self:
        """Raises `ConnectionFailed` for what is no pod: without id and status nothing can be said of it."""
        values = document if isinstance(document, Mapping) else {}
        id, status = text(values.get("id")), text(values.get("status"))
        if id is None or status is None:
            raise ConnectionFailed("RunPod's answer cannot be read", why="it is no pod with id and status")
        gpu, environment = _inside(values, "gpu"), values.get("env")
        return cls(
            id=id,
            name=text(values.get("name")) or id,
            status=status,
            environment=environment if isinstance(environment, Mapping) else None,
            gpu=text(gpu.get("id")),
            gpu_count=whole(gpu.get("count")),
            cloud=text(values.get("cloud")),
            cost=money(values.get("cost")),
            disk=whole(values.get("disk")) or 0,
            volume=whole(_inside(_inside(values, "mounts"), "persistent").get("size")) or 0,
            created=moment(values.get("createdAt")),
        )

    @property
    def tag(self) -> str | None:
        """What it was made for: its own environment says so."""
        if self.environment is not None:
            return text(self.environment.get(JOB))
        return self.name if self.name.startswith(_TAG) else None

    @property
    def hourly_rate(self) -> Decimal | None:
        """With its storage; None when RunPod does not tell its price."""
        if STATES.get(self.status) is MachineState.STOPPED:
            return stopped_rate(self.volume)
        return None if self.cost is None else running_rate(self.cost, self.disk + self.volume)

    @property
    def resource_id(self) -> str | None:
        """As in the catalogue."""
        return f"{self.gpu}@{self.cloud}" if self.gpu and self.cloud else self.gpu

    @property
    def rental(self) -> Rental:
        """As `list_rentals` tells it; its status needs no translation there."""
        return Rental(
            id=self.id, name=self.name, tag=self.tag, kind="job", status=self.status, hourly_rate=self.hourly_rate,
            created=self.created, resource_id=self.resource_id,
        )  # fmt: skip

    @property
    def state(self) -> MachineState:
        """Raises `ConnectionFailed` for a word that nobody knows: it says nothing of the job, which may well run."""
        if self.status not in STATES:
            what = f"pod {self.id} has a status that this version does not know"
            raise ConnectionFailed(what, why=self.status, remedy="update peft-studio-runpod, or ask again later")
        return STATES[self.status]

    def machine(self, settings: Settings, state: MachineState | None = None) -> Machine:
        """As a machine, in its own state unless another one is given. Raises as `state`."""
        environment = self.environment or {}
        port = text(environment.get(PORT)) or "8000"
        return Machine(
            id=self.id, name=self.name, tag=self.tag, state=state or self.state, status=self.status,
            hourly_rate=self.hourly_rate, created=self.created, resource_id=self.resource_id,
            address=settings.proxy_url.replace("{pod_id}", self.id).replace("{port}", port),
            token=text(environment.get(TOKEN)),
        )  # fmt: skip


def _inside(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name)
    return found if isinstance(found, Mapping) else {}


def create_body(offer: Offer, launch: Launch, settings: Settings) -> dict[str, Any]:
    """POST /v2/pods. Raises `InvalidConfig` for what RunPod would refuse."""
    gpu: dict[str, Any] = {"id": offer.details["gpu"], "count": settings.gpu_count}  # without count: "sold out"
    if settings.min_cuda:
        gpu["minCudaVersion"] = settings.min_cuda
    body = {
        "name": launch.tag,
        "image": settings.image,
        "cloud": offer.details["cloud"],
        "gpu": gpu,
        "disk": settings.disk_gb,
        "mounts": {"persistent": {"size": settings.volume_gb, "path": launch.mount}},
        "ports": [f"{launch.port}/http"],
        "env": dict(launch.variables),
        "entrypoint": ["/bin/sh", "-c"],
        "cmd": [launch.script],
    }
    if settings.data_centers:
        body["dataCenterIds"] = list(settings.data_centers)
    _require_acceptable(body)
    return body


def _require_acceptable(body: Mapping[str, Any]) -> None:
    size, variables = len(json.dumps(body).encode()), body["env"]
    if size > MOST_BYTES:
        raise InvalidConfig(f"the request for a pod has {size} bytes, and RunPod takes {MOST_BYTES}")
    if len(variables) > MOST_VARIABLES:
        raise InvalidConfig(f"a pod can have {MOST_VARIABLES} environment variables, not {len(variables)}")
    taken = sorted(name for name in variables if name.startswith("RUNPOD_"))
    if taken:  # RunPod's own variables hide those of the same name
        raise InvalidConfig(f"{', '.join(taken)}: variables of a pod that begin with RUNPOD_ are RunPod's own")


def teardown_steps(settings: Settings) -> list[dict[str, Any]]:
    """How a pod deletes itself with the key that RunPod gives it: REST in two ways, then GraphQL.

    A step is over only with 204. GraphQL says 200 to refusals too, so its answer never counts: when it has worked there
    is nobody left to read it.
    """
    headers = {"Authorization": "Bearer ${RUNPOD_API_KEY}", "User-Agent": USER_AGENT}
    pod = f"{settings.base_url.rstrip('/')}/pods/${{RUNPOD_POD_ID}}"
    query = 'mutation { podTerminate(input: {podId: "${RUNPOD_POD_ID}"}) }'
    return [
        {"method": "DELETE", "url": pod, "headers": headers, "accept": [204]},
        {
            "method": "POST",
            "url": f"{pod}/action",
            "headers": headers,
            "json": {"action": "terminate"},
            "accept": [204],
        },
        {"method": "POST", "url": settings.graphql_url, "headers": headers, "json": {"query": query}, "accept": []},
    ]

"""Pods: what was asked for, where it stands, what it costs, and the container that runs, or one that pretends."""

from __future__ import annotations

import json
import secrets
import string
import threading
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from attrs import Factory, define, field, frozen

from peft_studio_runpod.sandbox.bill import Bill
from peft_studio_runpod.sandbox.catalogue import Place, find_gpu
from peft_studio_runpod.sandbox.container import Container
from peft_studio_runpod.sandbox.log import PodLog
from peft_studio_runpod.sandbox.timeline import Timeline
from peft_studio_testkit.sandbox import Job
from peft_studio_testkit.sandbox.jobs import ScriptedJob
from peft_studio_testkit.sandbox.scripted_worker import ScriptedWorker


class PodStatus(StrEnum):
    """The platform's words."""

    PROVISIONING = "PROVISIONING"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    EXITED = "EXITED"
    ERROR = "ERROR"
    TERMINATED = "TERMINATED"


ACTIONS: Final = {
    PodStatus.PROVISIONING: ["stop", "terminate"],
    PodStatus.STARTING: ["stop", "terminate"],
    PodStatus.RUNNING: ["stop", "restart", "terminate"],
    PodStatus.EXITED: ["start", "terminate"],
    PodStatus.ERROR: ["start", "terminate"],
    PodStatus.TERMINATED: [],
}


@frozen(kw_only=True)
class PodSpec:
    """What was asked for. Sizes in GB."""

    name: str
    image: str
    disk: int
    args: str = ""
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: dict[str, str] = Factory(dict)
    ports: tuple[str, ...] = ()
    mounts: dict[str, Any] = Factory(dict)
    start_ssh: bool = False
    start_jupyter: bool = False
    min_vcpus: int = 1

    @property
    def shown_args(self) -> str:
        """`args` as a pod tells it: one that was made with the arrays shows them as JSON."""
        if not self.entrypoint and not self.cmd:
            return self.args
        return json.dumps({"entrypoint": list(self.entrypoint), "cmd": list(self.cmd)})

    @property
    def command(self) -> list[str]:
        """What is executed on top of the image's own entrypoint; a plain `args` is one word, and not split."""
        if self.entrypoint or self.cmd:
            return [*self.entrypoint, *self.cmd]
        try:
            document = json.loads(self.args)
        except ValueError:
            return [self.args] if self.args else []
        if not isinstance(document, dict):
            return [self.args]
        return [*document.get("entrypoint", ()), *document.get("cmd", ())]

    @property
    def replaces_entrypoint(self) -> bool:
        """True when the image's own entrypoint is left out."""
        return bool(self.entrypoint) or '"entrypoint"' in self.args

    @property
    def http_ports(self) -> tuple[int, ...]:
        """Those that the proxy serves."""
        return self._ports("http")

    @property
    def tcp_ports(self) -> tuple[int, ...]:
        """Those that get a public number."""
        return self._ports("tcp")

    @property
    def mount_path(self) -> str | None:
        """Where storage is mounted."""
        network = self.mounts.get("network") or [{}]
        found = self.mounts.get("persistent", network[0]).get("path")
        return None if found is None else str(found)

    @property
    def persistent_size(self) -> int:
        """Of the host's storage, GB."""
        return int(self.mounts.get("persistent", {}).get("size", 0))

    @property
    def volume_id(self) -> str | None:
        """The network volume."""
        network = self.mounts.get("network") or [{}]
        found = network[0].get("volumeId")
        return None if found is None else str(found)

    def _ports(self, kind: str) -> tuple[int, ...]:
        return tuple(int(port.partition("/")[0]) for port in self.ports if port.endswith(f"/{kind}"))


@define(eq=False, kw_only=True)
class Pod:
    """One pod."""

    id: str
    spec: PodSpec
    place: Place
    timeline: Timeline
    log: PodLog
    bill: Bill
    created: float
    #: Moments of the clock: its container starts, and runs.
    starting: float
    running: float
    #: The key that the container is given.
    key: str = Factory(lambda: f"rpa_pod_{secrets.token_hex(16)}")
    #: How many GPUs it holds; none after some starts.
    gpus: int = 0
    locked: bool = False
    is_stopped: bool = False
    is_deleted: bool = False
    #: True when the platform gave it up.
    has_error: bool = False
    global_networking: bool = False
    container: Container | None = None
    #: In place of a container.
    worker: ScriptedWorker | None = None
    #: What it was rented for.
    job: Job | None = None
    lock: threading.RLock = field(factory=threading.RLock)

    @property
    def status(self) -> PodStatus:
        """By the clock."""
        if self.is_deleted:
            return PodStatus.TERMINATED
        if self.has_error:
            return PodStatus.ERROR
        if self.is_stopped:
            return PodStatus.EXITED
        now = self.timeline.clock.now()
        if now < self.starting:
            return PodStatus.PROVISIONING
        return PodStatus.STARTING if now < self.running else PodStatus.RUNNING

    @property
    def rate(self) -> Decimal:
        """What its GPUs cost in an hour while it is not stopped, USD."""
        return find_gpu(self.place.gpu).price(self.place.cloud) * self.gpus

    @property
    def cost(self) -> Decimal:
        """What its GPUs cost in an hour now, USD."""
        is_off = self.status in (PodStatus.EXITED, PodStatus.TERMINATED)
        return Decimal(0) if is_off else self.rate

    @property
    def pretends(self) -> bool:
        """True when its worker does, in place of a container."""
        return isinstance(self.job, ScriptedJob)

    def may_end(self) -> bool:
        """Cancel a job that pretends; False when it goes on: then the platform agrees, and does nothing."""
        if self.job is None or not self.pretends:
            return True
        self.job.cancel()
        return self.job.status.is_terminal

    def port(self, inside: int) -> int | None:
        """The real port of a declared one, while it runs."""
        is_running = self.status is PodStatus.RUNNING and self.container is not None
        return self.container.ports.get(inside) if is_running and self.container else None

    def show(self) -> dict[str, Any]:
        """The pod as REST v2 tells it."""
        spec, status = self.spec, self.status
        return {
            "id": self.id,
            "name": spec.name,
            "status": (self.job and self.job.word) or status,
            "actions": ACTIONS[status],
            "image": spec.image,
            "args": spec.shown_args,
            "entrypoint": list(spec.entrypoint),
            "cmd": list(spec.cmd),
            "disk": spec.disk,
            "mounts": spec.mounts,
            "ports": list(spec.ports),
            "env": spec.env,
            "registry": None,
            "gpu": {"id": self.place.gpu, "count": self.gpus},
            "cloud": self.place.cloud,
            "dataCenterId": self.place.data_center,
            "cudaVersion": self.place.cuda,
            "ssh": {"proxy": self._ssh_proxy(), "direct": self._ssh_direct()},
            "template": None,
            "cost": float(self.cost),
            "locked": self.locked,
            "globalNetworking": {"enabled": self.global_networking},
            "runtime": self._runtime(),
            "createdAt": self.timeline.text(self.created),
            "startedAt": self.timeline.text(self.running) if status is PodStatus.RUNNING else None,
        }

    def runtime_ports(self) -> list[dict[str, Any]]:
        """The published ports; those of the proxy have no number of their own."""
        tcp = ((inside, self.port(inside), "tcp", "127.0.0.1") for inside in self.spec.tcp_ports)
        http = ((inside, None, "http", None) for inside in self.spec.http_ports)
        names = ("private", "public", "type", "ip")
        return [dict(zip(names, each, strict=True)) for each in (*tcp, *http)]

    def _runtime(self) -> dict[str, Any] | None:
        if self.status is not PodStatus.RUNNING:
            return None
        idle = {"util": 0}
        return {
            "uptime": int(self.timeline.clock.now() - self.running),
            "gpus": [{**idle, "memoryUtil": 0} for _ in range(self.gpus)],
            "cpu": idle,
            "memory": idle,
            "ports": self.runtime_ports(),
        }

    def _ssh_proxy(self) -> dict[str, Any] | None:
        return _ssh("ssh.runpod.io", 22, f"{self.id}-64411eb2")

    def _ssh_direct(self) -> dict[str, Any] | None:
        port = self.port(22)
        return None if port is None else {**_ssh("127.0.0.1", port, "root")}


def new_id() -> str:
    """As the platform makes them: short, lower case."""
    return "".join(secrets.choice(string.ascii_lowercase + string.digits) for _ in range(14))


def _ssh(host: str, port: int, user: str) -> dict[str, Any]:
    suffix = "" if port == 22 else f" -p {port}"
    return {"host": host, "port": port, "username": user, "command": f"ssh {user}@{host}{suffix}"}

"""Inference endpoints: what was asked for, and the state that the clock has brought it to."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final, Literal

from attrs import define, field, frozen

from peft_studio_huggingface.sandbox.timeline import date_text
from peft_studio_testkit.sandbox.clock import Clock

#: Seconds after which one that was started is initializing, and running. Made up.
INITIALIZING, RUNNING = 5.0, 60.0


@frozen
class Instance:
    """A machine that can be had."""

    type: str
    size: str
    count: int
    gpu_memory: int
    #: USD.
    hourly: Decimal = field(converter=Decimal)

    def document(self) -> dict[str, Any]:
        """As the API describes it; how much memory the machine itself has is not known."""
        return {
            "id": f"aws-us-east-1-{self.type}-{self.size}",
            "accelerator": "gpu",
            "instanceType": self.type,
            "instanceSize": self.size,
            "architecture": self.type.replace("nvidia-", "Nvidia ").upper(),
            "numAccelerators": self.count,
            "memoryGb": None,
            "gpuMemoryGb": self.gpu_memory,
            "pricePerHour": float(self.hourly),
            "status": "available",
            "quota": {"maxAccelerators": 8, "usedAccelerators": 0},
        }


#: Source: huggingface/hf-endpoints-documentation 6b7307ab, docs/source/support/pricing.md; a part of it.
INSTANCES: Final = (
    Instance("nvidia-t4", "x1", 1, 14, "0.50"),
    Instance("nvidia-l4", "x1", 1, 24, "0.80"),
    Instance("nvidia-l4", "x4", 4, 96, "3.80"),
    Instance("nvidia-a10g", "x1", 1, 24, "1.00"),
    Instance("nvidia-l40s", "x1", 1, 48, "1.80"),
    Instance("nvidia-a100", "x1", 1, 80, "2.50"),
    Instance("nvidia-h200", "x1", 1, 141, "5.00"),
)


@define(kw_only=True)
class Endpoint:
    """One endpoint."""

    namespace: str
    wanted: dict[str, Any]
    instance: Instance
    clock: Clock
    created: float = field(init=False)
    #: Why it does not run; None when it does, or is about to.
    rest: Literal["paused", "scaledToZero"] | None = None
    _since: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.created = self._since = self.clock.now()

    @property
    def name(self) -> str:
        """Its name in the namespace."""
        return str(self.wanted["name"])

    @property
    def state(self) -> str:
        """The API's word."""
        if self.rest is not None:
            return self.rest
        age = self.clock.now() - self._since
        return "pending" if age < INITIALIZING else "initializing" if age < RUNNING else "running"

    @property
    def hourly(self) -> Decimal:
        """What it costs now, USD in an hour."""
        return Decimal(0) if self.rest is not None else self.instance.hourly

    def turn(self, rest: Literal["paused", "scaledToZero"] | None) -> None:
        """Put it to rest, or start it again."""
        self.rest, self._since = rest, self.clock.now()

    def document(self, origin: str) -> dict[str, Any]:
        """As the API describes it."""
        state = self.state
        replicas = {"readyReplica": int(state == "running"), "targetReplica": int(self.rest is None)}
        person = {"id": self.namespace.encode().hex(), "name": self.namespace}
        dates = {"createdAt": date_text(self.created), "updatedAt": date_text(self._since)}
        url = f"{origin}/served/{self.namespace}/{self.name}" if state == "running" else None
        status = {"state": state, "message": "", "url": url, "createdBy": person, "updatedBy": person}
        plain = {"type": "authenticated", "healthRoute": "/health", **self.wanted}
        return {**plain, "status": {**status, **dates, **replicas}}

"""Inference endpoints: what was asked for, and the state that the clock has brought it to."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final, Literal

from attrs import define, field, frozen

from peft_studio_huggingface.sandbox.timeline import date_text
from peft_studio_testkit.sandbox.clock import Clock

#: Seconds of the platform's clock from the start until it is initializing, and until it runs.
START: Final = (0.0, 0.0)
_MINUTE: Final = 60


@frozen
class Instance:
    """A machine that can be had."""

    type: str
    size: str
    count: int
    gpu_memory: int
    #: USD.
    hourly: Decimal = field(converter=Decimal)
    #: The API's word for whether it can be had.
    status: str = "available"
    used: int = 0
    most: int = 8

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
            "status": self.status,
            "quota": {"maxAccelerators": self.most, "usedAccelerators": self.used},
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
    #: As `START`.
    start: tuple[float, float] = START
    created: float = field(init=False)
    #: Why it did not come up; None when it did, or will.
    fails: str | None = None
    #: What it was asked, in order, and the model that each named.
    invocations: list[Any] = field(factory=list)
    _rest: Literal["paused", "scaledToZero"] | None = None
    _since: float = field(init=False)
    _asked: float = field(init=False)
    _was_up: bool = False

    def __attrs_post_init__(self) -> None:
        self.created = self._since = self._asked = self.clock.now()

    @property
    def name(self) -> str:
        """Its name in the namespace."""
        return str(self.wanted["name"])

    @property
    def id(self) -> str:
        """By which the sandbox knows it."""
        return f"{self.namespace}/{self.name}"

    @property
    def model(self) -> str:
        """The repository that it serves."""
        return str(self.wanted["model"]["repository"])

    @property
    def rest(self) -> Literal["paused", "scaledToZero"] | None:
        """Why it does not run; None when it does, or is about to."""
        patience, up = self._patience, self._since + self.start[1]
        if self._rest is None and patience and self.clock.now() >= max(up, self._asked) + patience:
            self._rest, self._was_up = "scaledToZero", True
        return self._rest

    @property
    def state(self) -> str:
        """The API's word."""
        if self.rest is not None:
            return self.rest
        age = self.clock.now() - self._since
        if age < self.start[1]:
            return "pending" if age < self.start[0] else "initializing"
        self._was_up = self.fails is None
        return "running" if self._was_up else "failed"

    @property
    def hourly(self) -> Decimal:
        """What it costs now, USD in an hour."""
        return Decimal(0) if self.state in ("paused", "scaledToZero", "failed") else self.instance.hourly

    def turn(self, rest: Literal["paused", "scaledToZero"] | None) -> None:
        """Put it to rest, or start it again."""
        self._rest, self._since = rest, self.clock.now()

    def is_up_for_a_request(self) -> bool:
        """One that was scaled to zero is woken by being asked; it may take its time to come."""
        if self.rest == "scaledToZero":
            self.turn(None)
        self._asked = self.clock.now()
        return self.state == "running"

    def document(self, origin: str) -> dict[str, Any]:
        """As the API describes it; it keeps its address while it rests."""
        state = self.state
        replicas = {"readyReplica": int(state == "running"), "targetReplica": int(self.rest is None)}
        person = {"id": self.namespace.encode().hex(), "name": self.namespace}
        dates = {"createdAt": date_text(self.created), "updatedAt": date_text(self._since)}
        url = f"{origin}/served/{self.namespace}/{self.name}" if self._was_up else None
        status = {"state": state, "message": self.fails or "", "url": url, "createdBy": person, "updatedBy": person}
        shown = {**self.wanted["model"], "secrets": dict.fromkeys(self.wanted["model"].get("secrets", {}), "")}
        plain = {"type": "authenticated", "healthRoute": "/health", **self.wanted, "model": shown}
        return {**plain, "status": {**status, **dates, **replicas}}

    @property
    def _patience(self) -> float:
        """Seconds without a request after which it rests; 0 for one that never does."""
        scaling = self.wanted["compute"].get("scaling") or {}
        return 0 if scaling.get("minReplica") else (scaling.get("scaleToZeroTimeout") or 0) * _MINUTE

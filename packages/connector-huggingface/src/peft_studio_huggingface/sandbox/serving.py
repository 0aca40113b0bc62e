"""Everything that is served: the endpoints with the machines that can be had for them, and what providers serve."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from peft_studio_huggingface.sandbox.accounts import OWNER
from peft_studio_huggingface.sandbox.served import INSTANCES, START, Endpoint, Instance
from peft_studio_testkit.sandbox import Deployment, DeploymentTable
from peft_studio_testkit.sandbox.clock import Clock


class Serving:
    """The truth behind Inference Endpoints and Inference Providers."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: By `namespace/name`.
        self.endpoints: dict[str, Endpoint] = {}
        self.reset()

    def reset(self) -> None:
        """Nothing is served; every machine can be had, and is up at once."""
        self.endpoints.clear()
        self.instances: tuple[Instance, ...] = INSTANCES
        #: Seconds of the platform's clock until a new endpoint is initializing, and until it runs.
        self.start = START
        #: Models of Inference Providers, and by whom each is served.
        self.providers: dict[str, tuple[str, ...]] = {}
        #: What the router was asked: who pays, and the body.
        self.routed: list[tuple[str, dict[str, Any]]] = []

    def begin(self, namespace: str, wanted: dict[str, Any], instance: Instance) -> Endpoint:
        """A new endpoint."""
        new = Endpoint(namespace=namespace, wanted=wanted, instance=instance, clock=self._clock, start=self.start)
        self.endpoints[new.id] = new
        return new


class EndpointTable(DeploymentTable):
    """A view of the endpoints, as checks for every platform read and seed them: nothing is kept here."""

    def __init__(self, serving: Serving) -> None:
        super().__init__()
        self._serving = serving

    def clear(self) -> None:
        """Forget every endpoint."""
        self._serving.endpoints.clear()

    def __getitem__(self, id: str) -> Deployment:
        found = self._serving.endpoints[id]
        status = "ready" if found.state in ("pending", "initializing", "running") else found.state
        return Deployment(id=id, model_id=found.model, status=status, invocations=found.invocations)

    def __delitem__(self, id: str) -> None:
        del self._serving.endpoints[id]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._serving.endpoints))

    def __len__(self) -> int:
        return len(self._serving.endpoints)

    def add(self, model_id: str, *, id: str | None = None, status: str = "ready", url: str | None = None) -> Deployment:
        """Serve a model, whether there is one of that id or not."""
        namespace, _, name = (id or f"{OWNER}/seeded-{len(self)}").rpartition("/")
        instance = self._serving.instances[0]
        wanted = {
            "name": name,
            "provider": {"vendor": "aws", "region": "us-east-1"},
            "compute": {"accelerator": "gpu", "instanceType": instance.type, "instanceSize": instance.size},
            "model": {"repository": model_id},
        }
        new = self._serving.begin(namespace or OWNER, wanted, instance)
        new.fails = None if status == "ready" else status
        return self[new.id]

"""Inference Endpoints in the platform's words: the machines that can be had, and what serves a model on one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Self

from attrs import frozen

from peft_studio import CapacityError, Deployment, InvalidConfig, PlatformError, Rental
from peft_studio_huggingface.reading import mapping, moment, required, text, whole
from peft_studio_huggingface.settings import Settings

#: It stands still, and costs nothing.
PAUSED, ASLEEP, FAILED = "paused", "scaledToZero", "failed"
#: What can be asked, or soon.
_SERVING: Final = ("running", "updating", "updateFailed", ASLEEP)


@frozen(kw_only=True)
class Instance:
    """One machine at one place: an entry of GET /v2/provider/{namespace}."""

    id: str
    vendor: str
    region: str
    type: str
    size: str
    accelerator: str
    count: int
    #: Of one GPU, GB.
    vram: int | None
    #: US dollars.
    hourly_rate: Decimal | None
    #: Why it cannot be had now; None when it can.
    obstacle: str | None
    is_deprecated: bool

    @classmethod
    def every(cls, document: Any) -> Iterator[Self]:
        """From the whole answer. Raises `ConnectionFailed` for another shape."""
        for vendor in _items(document, "vendors"):
            for region in _items(vendor, "regions"):
                for compute in _items(region, "computes"):
                    place = required(vendor, "name", "a vendor"), required(region, "name", "a region")
                    yield cls._of(compute, *place)

    @classmethod
    def _of(cls, document: Any, vendor: str, region: str) -> Self:
        found = mapping(document)
        count, memory, status = whole(found.get("numAccelerators")) or 1, found.get("gpuMemoryGb"), found.get("status")
        price = found.get("pricePerHour")
        return cls(
            id=required(document, "id", "an instance"),
            vendor=vendor,
            region=region,
            type=required(document, "instanceType", "an instance"),
            size=required(document, "instanceSize", "an instance"),
            accelerator=text(found.get("accelerator")) or "gpu",
            count=count,
            vram=int(memory) // count if isinstance(memory, int | float) else None,  # the API tells that of all of them
            hourly_rate=Decimal(str(price)) if isinstance(price, int | float) else None,
            obstacle=_obstacle(str(status), count, mapping(found.get("quota"))),
            is_deprecated=status == "deprecated",
        )

    @property
    def key(self) -> tuple[str, ...]:
        """What an endpoint says of its machine."""
        return self.vendor, self.region, self.type, self.size


def chosen(instances: Iterable[Instance], wanted: str | None, settings: Settings) -> Instance:
    """The cheapest that fits and can be had. Raises `InvalidConfig`, `PlatformError` and `CapacityError`.

    `wanted` is an instance's id, or type and size as in `nvidia-l4-x1`, wherever that may be.
    """
    known = list(instances)
    if wanted:
        fit = [each for each in known if wanted in (each.id, f"{each.type}-{each.size}")]
        if not fit:
            remedy = f"choose one of {', '.join(sorted({f'{each.type}-{each.size}' for each in known}))}"
            raise InvalidConfig(f"Hugging Face serves on no instance {wanted!r}", remedy=remedy)
    else:
        large = [each for each in known if (each.vram or 0) >= settings.min_vram_gb and each.accelerator == "gpu"]
        fit = [each for each in large if not each.is_deprecated]
    limit = settings.max_hourly_rate
    cheap = [each for each in fit if limit is None or (each.hourly_rate is not None and each.hourly_rate <= limit)]
    if fit and not cheap:
        raise PlatformError(f"no instance that fits costs {limit} USD an hour or less", remedy="raise max_hourly_rate")
    free = [each for each in cheap if each.obstacle is None]
    if not free:
        why = "; ".join(f"{each.id}: {each.obstacle}" for each in cheap[:5])
        raise CapacityError("no instance can be had", why=why or "nothing that fits is on offer")
    return min(free, key=lambda each: (each.hourly_rate is None, each.hourly_rate or 0))


@frozen(kw_only=True)
class Endpoint:
    """GET /v2/endpoint/{namespace}/{name}."""

    namespace: str
    name: str
    state: str
    message: str | None
    url: str | None
    #: The repository that it serves.
    model: str | None
    #: Name under which the engine knows that model; None where it knows no names.
    served_as: str | None
    #: As `Instance.key`.
    instance: tuple[str, ...]
    created: datetime | None
    ready: int | None
    target: int | None

    @classmethod
    def of(cls, document: Any, namespace: str) -> Self:
        """Raises `ConnectionFailed` for another shape."""
        found, status = mapping(document), mapping(mapping(document).get("status"))
        model, provider, compute = (mapping(found.get(key)) for key in ("model", "provider", "compute"))
        image = next(iter(mapping(model.get("image")).values()), None)
        repository = text(model.get("repository"))
        return cls(
            namespace=namespace,
            name=required(document, "name", "an endpoint"),
            state=required(status, "state", "an endpoint's status"),
            message=text(status.get("message")),
            url=text(status.get("url")),
            model=repository,
            served_as=repository if "vllm" in str(mapping(image).get("url")).lower() else None,
            instance=(
                str(provider.get("vendor")), str(provider.get("region")),
                str(compute.get("instanceType")), str(compute.get("instanceSize")),
            ),
            created=moment(status.get("createdAt")),
            ready=whole(status.get("readyReplica")),
            target=whole(status.get("targetReplica")),
        )  # fmt: skip

    @property
    def id(self) -> str:
        """Ours: no job has a slash in its id."""
        return f"{self.namespace}/{self.name}"

    @property
    def deployment(self) -> Deployment:
        """As `list_deployments` tells it."""
        return Deployment(id=self.id, status=self.state, url=self.url, model_id=self.model)

    def hourly_rate(self, rates: Mapping[tuple[str, ...], Decimal | None]) -> Decimal | None:
        """What it costs now: nothing at rest, and nobody knows of one that has failed."""
        if self.state in (PAUSED, ASLEEP):
            return Decimal(0)
        rate = rates.get(self.instance)
        return None if rate is None or self.state == FAILED else rate * max(1, self.target or 0)

    def rental(self, rates: Mapping[tuple[str, ...], Decimal | None]) -> Rental:
        """As `list_rentals` tells it."""
        return Rental(
            id=self.id, name=self.name, kind="deployment", status=self.state, created=self.created,
            hourly_rate=self.hourly_rate(rates), resource_id="-".join(self.instance),
        )  # fmt: skip

    def require_alive(self) -> None:
        """Raises `PlatformError` for one that will not come up by itself."""
        remedies = {
            PAUSED: "deploy the model again to resume it",
            FAILED: "stop it, and deploy again, perhaps on another instance",
        }
        if self.state in remedies:
            why = self.message or f"it is {self.state}"
            raise PlatformError(f"endpoint {self.id} has {_ENDED[self.state]}", why=why, remedy=remedies[self.state])

    def address(self) -> str:
        """Where it answers. Raises `PlatformError` while it is not up."""
        self.require_alive()
        if self.url is None or self.state not in _SERVING:
            why = f"it is {self.state}" + (f": {self.message}" if self.message else "")
            raise PlatformError(f"endpoint {self.id} has no address yet", why=why, remedy="ask again in a minute")
        return self.url.rstrip("/")


_ENDED: Final = {PAUSED: "been paused", FAILED: "failed"}


def _obstacle(status: str, count: int, quota: Mapping[str, Any]) -> str | None:
    most, used = whole(quota.get("maxAccelerators")), whole(quota.get("usedAccelerators")) or 0
    if status in ("not_available", "reserved"):
        return status.replace("_", " ")
    return f"{used} of {most} accelerators of your quota are used" if most is not None and used + count > most else None


def _items(document: Any, name: str) -> list[Any]:
    found = mapping(document).get(name)
    return found if isinstance(found, list) else []

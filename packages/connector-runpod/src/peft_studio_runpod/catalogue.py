"""GPUs that are on offer: rows of RunPod's catalogue, the ones that a user names, and which to try first.

A row counts for a cloud when its flag says so and its price is above 0: rows carry placeholder prices for clouds that
do not have them, and one row is a sentinel without memory. The catalogue is no reservation: what it calls sold out is
tried last, and what it calls available may be refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Final

from attrs import frozen

from peft_studio import CapacityError, InvalidConfig, PricingInfo, Problem, Resource
from peft_studio.rented import Offer
from peft_studio_runpod.prices import GB_HOUR, running_rate
from peft_studio_runpod.reading import money, text, whole
from peft_studio_runpod.settings import CLOUDS, Settings

#: Requests that one submission may make in search of a pod.
MOST_OFFERS: Final = 8
#: Reasons that an error tells.
_MOST_REASONS: Final = 5
_NOTHING: Final = "NONE"
_MARK: Final = "@"


@frozen(kw_only=True)
class Gpu:
    """One GPU type in one cloud."""

    id: str
    name: str
    cloud: str
    manufacturer: str | None
    #: GB.
    memory: int
    #: One of them for an hour, US dollars.
    price: Decimal
    #: The largest number of them in one pod; None when it is not told.
    most: int | None = None
    #: RunPod's word for the stock: NONE, LOW, MEDIUM, HIGH; None when it was not asked for.
    level: str | None = None
    #: Those that have it.
    data_centers: tuple[str, ...] = ()

    @property
    def resource_id(self) -> str:
        """Names it among the resources."""
        return f"{self.id}{_MARK}{self.cloud}"

    @property
    def words(self) -> str:
        """For people."""
        return f"{self.name}, {self.cloud.lower()} cloud"

    def is_available(self, settings: Settings) -> bool:
        """What the catalogue says of the stock, where the user would take it."""
        places = settings.data_centers
        is_there = not places or bool(set(places) & set(self.data_centers))
        return is_there and self.has_enough(settings) and self.level not in (None, _NOTHING)

    def has_enough(self, settings: Settings) -> bool:
        """Whether one pod can have as many of them."""
        return self.most is None or settings.gpu_count <= self.most

    def rate(self, settings: Settings) -> Decimal:
        """An hour of a pod with them, storage included."""
        return running_rate(self.price * settings.gpu_count, settings.disk_gb + settings.volume_gb)

    def resource(self, settings: Settings) -> Resource:
        """As `list_resources` tells it."""
        return Resource(
            id=self.resource_id,
            name=self.words,
            gpu_type=self.name,
            gpu_count=settings.gpu_count,
            vram_gb=self.memory,
            available=None if self.level is None else self.is_available(settings),
            region=", ".join(self.data_centers) or None,
        )

    def pricing(self, settings: Settings) -> PricingInfo:
        """As `get_pricing` tells it."""
        storage = f"{settings.disk_gb} GB of disk and {settings.volume_gb} GB of volume"
        return PricingInfo(
            resource_id=self.resource_id,
            hourly_rate=self.rate(settings),
            billing_increment=1,
            storage_gb_hourly_rate=GB_HOUR,
            as_of=datetime.now(UTC),
            source=f"GET /v2/catalog/gpus, with {storage}",
        )

    def offer(self, settings: Settings) -> Offer:
        """As something to rent."""
        rate, count = self.rate(settings), settings.gpu_count
        number = f"{count} × " if count > 1 else ""
        place = " or ".join(settings.data_centers) or "any data centre"
        return Offer(
            resource_id=self.resource_id,
            words=f"{number}{self.words}, {place}, {rate:.2f} USD/h",
            hourly_rate=rate,
            details={"gpu": self.id, "cloud": self.cloud},
        )


def gpus_of(rows: Iterable[Mapping[str, Any]], clouds: Sequence[str] = CLOUDS) -> Iterator[Gpu]:
    """What the rows offer in these clouds."""
    for row in rows:
        id, memory = text(row.get("id")), whole(row.get("memory"))
        if not id or id == "unknown" or not memory:
            continue
        for cloud in clouds:
            price = money(_of(row.get("price"), cloud))
            if row.get(cloud.lower()) is not True or not price or price < 0:
                continue
            yield Gpu(
                id=id,
                name=text(row.get("name")) or id,
                cloud=cloud,
                manufacturer=text(row.get("manufacturer")),
                memory=memory,
                price=price,
                most=whole(_of(row.get("maxCount"), cloud)),
                level=text(row.get("availability")),
                data_centers=tuple(_centers(row.get("dataCenters"))),
            )


def _of(values: Any, cloud: str) -> Any:
    return values.get(cloud.lower()) if isinstance(values, Mapping) else None


def _centers(rows: Any) -> Iterator[str]:
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, Mapping) and row.get("availability") != _NOTHING and (id := text(row.get("id"))):
            yield id


def cheapest_first(gpus: Iterable[Gpu]) -> list[Gpu]:
    """Sorted."""
    return sorted(gpus, key=lambda gpu: (gpu.price, gpu.id, gpu.cloud))


def named(gpus: Sequence[Gpu], resource_id: str, settings: Settings) -> list[Gpu]:
    """What the user means by a resource, in the user's order: ids or names, with or without a cloud, by commas.

    Raises `InvalidConfig` that names what may have been meant.
    """
    found = [gpu for part in resource_id.split(",") for gpu in _one(gpus, part.strip(), settings, "resource_id")]
    return list(dict.fromkeys(found))


def _one(gpus: Sequence[Gpu], part: str, settings: Settings, field: str) -> list[Gpu]:
    name, _, cloud = part.partition(_MARK)
    known = [gpu for gpu in gpus if name.casefold() in (gpu.id.casefold(), gpu.name.casefold())]
    clouds = (cloud.upper(),) if cloud else settings.clouds
    found = cheapest_first(gpu for gpu in known if gpu.cloud in clouds)
    if found:
        return found
    if known:
        others = " and ".join(gpu.cloud for gpu in known)
        problem = f"{field}: RunPod has no {name} in {' or '.join(clouds)}, but in {others}"
        raise _unknown(field, problem, known[0].resource_id)
    names = {text.casefold(): text for gpu in gpus for text in (gpu.id, gpu.name, gpu.resource_id)}
    guesses = get_close_matches(part.casefold(), list(names), n=3, cutoff=0.5)
    message = f"{field}: RunPod has no GPU named {part!r}"
    raise _unknown(field, message, ", ".join(names[guess] for guess in guesses) or None)


def _unknown(field: str, message: str, suggestion: str | None) -> InvalidConfig:
    problem = Problem(field=field, message=message, suggestion=suggestion)
    return InvalidConfig.from_problems("training config", [problem])


def offers_for(gpus: Sequence[Gpu], resource_id: str | None, settings: Settings) -> list[Offer]:
    """What to try, the best first. Raises `CapacityError` that says why nothing is left."""
    candidates = _allowed(gpus, settings) if resource_id is None else named(gpus, resource_id, settings)
    objections = [(gpu, _objection(gpu, settings)) for gpu in candidates]
    fitting = [gpu for gpu, objection in objections if objection is None]
    if not fitting:
        reasons = [f"{gpu.words}: {objection}" for gpu, objection in objections[:_MOST_REASONS]]
        more = len(objections) - len(reasons)
        reasons += [f"and {more} more"] if more else []
        raise CapacityError("nothing on offer fits", why="; ".join(reasons) or _wanted(settings), remedy=REMEDY)
    fitting.sort(key=lambda gpu: not gpu.is_available(settings))
    return [gpu.offer(settings) for gpu in fitting[:MOST_OFFERS]]


REMEDY: Final = "allow more with clouds, gpu_types, data_centers, min_vram_gb or max_hourly_rate, or try again later"


def _allowed(gpus: Sequence[Gpu], settings: Settings) -> list[Gpu]:
    """Without what the user has not asked for, cheapest first. Raises `InvalidConfig` for a GPU type that is none."""
    types = {gpu for name in settings.gpu_types for gpu in _one(gpus, name, settings, "gpu_types")}
    wanted = [gpu for gpu in gpus if not types or gpu in types]
    return cheapest_first(
        gpu
        for gpu in wanted
        if gpu.cloud in settings.clouds
        and gpu.memory >= settings.min_vram_gb
        and gpu.manufacturer in (settings.manufacturer, None)
    )


def _objection(gpu: Gpu, settings: Settings) -> str | None:
    """Why it cannot be taken, whoever has named it."""
    rate, most = gpu.rate(settings), settings.max_hourly_rate
    if gpu.manufacturer not in (settings.manufacturer, None):
        return f"the image {settings.image} needs GPUs of {settings.manufacturer}"
    if not gpu.has_enough(settings):
        return f"a pod has at most {gpu.most} of them, not {settings.gpu_count}"
    if most is not None and rate > most:
        return f"{rate:.2f} USD an hour is more than max_hourly_rate {most}"
    return None


def _wanted(settings: Settings) -> str:
    clouds = " or ".join(settings.clouds)
    return f"no GPU of {settings.manufacturer} in {clouds} has {settings.min_vram_gb} GB and is among gpu_types"

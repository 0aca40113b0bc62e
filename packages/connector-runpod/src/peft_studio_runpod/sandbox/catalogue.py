"""What can be rented: GPU types and data centres with their stock, sentinel and placeholder rows included.

The prices are near those of August 2026 and stand for nothing but this sandbox.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

from attrs import field, frozen

from peft_studio_runpod.sandbox.problems import NO_CAPACITY, Refusal

CLOUDS: Final = ("SECURE", "COMMUNITY")


@frozen(kw_only=True)
class GpuType:
    """A row of the catalogue. Prices in USD for an hour of one GPU; memory in GB."""

    id: str
    name: str
    memory: int
    secure: str
    community: str
    #: Where it stands. The community cloud has it where its price is one.
    offered: tuple[str, ...] = CLOUDS
    manufacturer: str = "NVIDIA"
    pool: str | None = None
    cuda: tuple[str, ...] = ("12.4", "12.8")
    max_count: int = 8
    #: RAM and processors that come with one GPU, GB and number.
    ram: int = 64
    vcpus: int = 16

    def price(self, cloud: str) -> Decimal:
        """What one costs there."""
        return Decimal(self.secure if cloud == "SECURE" else self.community)


@frozen(kw_only=True)
class DataCenter:
    """A place."""

    id: str
    name: str
    region: str
    volume_types: tuple[str, ...] = ("STANDARD",)

    @property
    def country(self) -> str:
        """Its country's code."""
        return self.id[:2] if not self.id.startswith("EU-") else self.id[3:5]


@frozen(kw_only=True)
class Wish:
    """What a pod asks for."""

    gpu: str
    count: int
    cloud: str
    data_centers: tuple[str, ...] = ()
    cuda: tuple[str, ...] = ()
    cuda_floor: str | None = None
    ram: int = 0
    vcpus: int = 0


@frozen(kw_only=True)
class Place:
    """GPUs on a host that a pod has been given."""

    gpu: str
    cloud: str
    data_center: str
    cuda: str | None
    count: int


GPU_TYPES: Final = (
    GpuType(id="NVIDIA GeForce RTX 3070", name="RTX 3070", memory=8, secure="0.50", community="0.13",
            offered=("COMMUNITY",), max_count=4),  # the price for secure is a placeholder
    GpuType(id="NVIDIA GeForce RTX 3090", name="RTX 3090", memory=24, secure="0.50", community="0.22"),
    GpuType(id="NVIDIA GeForce RTX 4090", name="RTX 4090", memory=24, secure="0.74", community="0.34", pool="ADA_24"),
    GpuType(id="NVIDIA RTX A5000", name="RTX A5000", memory=24, secure="0.27", community="0.16", pool="AMPERE_24"),
    GpuType(id="NVIDIA A100 80GB PCIe", name="A100 PCIe", memory=80, secure="1.59", community="1.19", pool="AMPERE_80"),
    GpuType(id="NVIDIA H100 80GB HBM3", name="H100 SXM", memory=80, secure="3.29", community="0.50",
            offered=("SECURE",), pool="ADA_80_PRO", ram=200),  # and here the one for community
    GpuType(id="AMD Instinct MI300X OAM", name="MI300X", memory=192, secure="2.49", community="0",
            offered=("SECURE",), manufacturer="AMD", cuda=(), ram=240),
    GpuType(id="unknown", name="unknown", memory=0, secure="0", community="0", offered=(), manufacturer="UNKNOWN",
            cuda=(), max_count=0),
)  # fmt: skip

DATA_CENTERS: Final = (
    DataCenter(id="US-KS-2", name="US Kansas 2", region="NORTH_AMERICA", volume_types=("STANDARD", "HIGH_PERFORMANCE")),
    DataCenter(id="EU-RO-1", name="EU Romania 1", region="EUROPE"),
    DataCenter(id="CA-MTL-1", name="CA Montreal 1", region="NORTH_AMERICA", volume_types=()),
)


@frozen
class Catalogue:
    """The stock. Tests change it; pods take from it and give back."""

    _stock: dict[tuple[str, str, str], int] = field(factory=dict, init=False)
    #: GPU types that the list calls available and that no create gets.
    vanished: set[str] = field(factory=set, init=False)
    #: GPU types that this account may not have.
    closed: set[str] = field(factory=set, init=False)
    _lock: threading.RLock = field(factory=threading.RLock, init=False)

    def __attrs_post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Plenty of everything that is offered."""
        with self._lock:
            self.vanished.clear()
            self.closed.clear()
            self._stock.clear()
            for gpu in GPU_TYPES:
                for cloud in gpu.offered:
                    self._stock.update({(gpu.id, cloud, center.id): 2 * gpu.max_count for center in DATA_CENTERS[:2]})

    def set_stock(self, gpu: str, free: int, *, clouds: Iterable[str] = CLOUDS, data_center: str | None = None) -> None:
        """So many GPUs of that type are free in each data centre, or in that one."""
        with self._lock:
            for cloud in clouds:
                for center in DATA_CENTERS if data_center is None else [find_data_center(data_center)]:
                    self._stock[gpu, cloud, center.id] = free

    def free(self, gpu: str, cloud: str, data_center: str) -> int:
        """How many are free there."""
        with self._lock:
            return self._stock.get((gpu, cloud, data_center), 0)

    def take(self, wish: Wish) -> Place:
        """Give what is wished. Refuses with 403 for a closed pool, and with 400 where nothing fits."""
        gpu = find_gpu(wish.gpu)
        if gpu.id in self.closed:
            raise Refusal(403, "access denied")
        with self._lock:
            centers = [center for center in DATA_CENTERS if not wish.data_centers or center.id in wish.data_centers]
            fitting = [each for each in centers if self.free(gpu.id, wish.cloud, each.id) >= wish.count]
            versions = cuda_choice(gpu.cuda, wish.cuda, wish.cuda_floor)
            is_too_small = gpu.ram < wish.ram or gpu.vcpus < wish.vcpus
            is_constrained = bool(wish.cuda or wish.cuda_floor)
            if gpu.id in self.vanished or not fitting or is_too_small or (is_constrained and not versions):
                raise Refusal(400, NO_CAPACITY)
            place = Place(gpu=gpu.id, cloud=wish.cloud, data_center=fitting[0].id, count=wish.count,
                          cuda=versions[-1] if versions else None)  # fmt: skip
            self._stock[gpu.id, wish.cloud, place.data_center] -= wish.count
            return place

    def retake(self, place: Place) -> None:
        """Give the GPUs of a stopped pod again, on the host that it is tied to, or refuse with 400."""
        with self._lock:
            if place.gpu in self.vanished or self.free(place.gpu, place.cloud, place.data_center) < place.count:
                raise Refusal(400, NO_CAPACITY)
            self._stock[place.gpu, place.cloud, place.data_center] -= place.count

    def give_back(self, place: Place) -> None:
        """They are free again."""
        with self._lock:
            self._stock[place.gpu, place.cloud, place.data_center] += place.count


def find_gpu(id: str) -> GpuType:
    """The row; 422 for what is none, and for the sentinel, which nobody can rent."""
    for gpu in GPU_TYPES:
        if gpu.id == id and gpu.offered:
            return gpu
    raise Refusal(422, f"Unknown GPU type: {id}")


def find_data_center(id: str) -> DataCenter:
    """The place. Raises `KeyError`."""
    return {center.id: center for center in DATA_CENTERS}[id]


def cuda_choice(offered: Sequence[str], allowed: Sequence[str] = (), floor: str | None = None) -> list[str]:
    """The CUDA versions that the client accepts; numbers compare as such: 12.11 is above 12.2."""
    fitting = [version for version in offered if not allowed or version in allowed]
    return [version for version in fitting if floor is None or _number(version) >= _number(floor)]


def level(free: int, count: int) -> str:
    """How the catalogue calls a stock."""
    machines = free // count
    return next(name for least, name in ((8, "HIGH"), (3, "MEDIUM"), (1, "LOW"), (0, "NONE")) if machines >= least)


def gpu_row(gpu: GpuType) -> dict[str, Any]:
    """A row without its availability."""
    return {
        "id": gpu.id,
        "name": gpu.name,
        "pool": gpu.pool,
        "manufacturer": gpu.manufacturer,
        "memory": gpu.memory,
        "secure": "SECURE" in gpu.offered,
        "community": "COMMUNITY" in gpu.offered,
        "price": {"secure": float(gpu.secure), "community": float(gpu.community)},
        "maxCount": {"secure": gpu.max_count, "community": gpu.max_count // 2},
    }


def gpu_availability(
    catalogue: Catalogue, gpu: GpuType, *, cloud: str, count: int, countries: Sequence[str], cuda: list[str]
) -> dict[str, Any]:
    """What `include=AVAILABILITY` adds to a row; places and versions are missing where nothing is on offer."""
    centers = [center for center in DATA_CENTERS if not countries or center.country in countries]
    free = {center: catalogue.free(gpu.id, cloud, center.id) if cuda or not gpu.cuda else 0 for center in centers}
    offering = [center for center in centers if free[center] >= count]
    found: dict[str, Any] = {"availability": level(sum(free.values()), count) if offering else "NONE"}
    if offering:
        found["dataCenters"] = [
            {"id": center.id, "name": center.name, "availability": level(free[center], count)} for center in offering
        ]
        if cuda:
            found["cudaVersions"] = [{"version": version, "available": True} for version in cuda]
    return found


def center_rows(catalogue: Catalogue, *, with_gpus: bool) -> Iterator[dict[str, Any]]:
    """The list of data centres; one that offers no GPU does not mention them."""
    for center in DATA_CENTERS:
        row: dict[str, Any] = {
            "id": center.id,
            "name": center.name,
            "region": center.region,
            "globalNetwork": True,
            "networkVolumeTypes": list(center.volume_types),
            "compliance": ["GDPR"] if center.region == "EUROPE" else ["SOC_2_TYPE_2"],
        }
        stock = {gpu: sum(catalogue.free(gpu.id, cloud, center.id) for cloud in CLOUDS) for gpu in GPU_TYPES}
        gpus = [{"id": gpu.id, "name": gpu.name, "availability": level(free, 1)} for gpu, free in stock.items() if free]
        yield {**row, "gpuAvailability": gpus} if with_gpus and gpus else row


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))

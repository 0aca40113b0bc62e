"""Hardware flavours of Jobs: what is in one, and what it costs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, Self

from attrs import frozen

from peft_studio import InvalidConfig, PlatformError, PricingInfo, Resource
from peft_studio.rented import Offer
from peft_studio_huggingface.reading import mapping, required, text, whole
from peft_studio_huggingface.settings import Settings

#: What an open port costs in an hour, US dollars. Source: docs/hub/jobs-pricing.
PORT_RATE: Final = Decimal("0.01")
_MINUTE: Final = 60


@frozen(kw_only=True)
class Flavor:
    """One entry of GET /api/jobs/hardware."""

    id: str
    words: str
    gpu: str | None
    gpu_count: int
    #: Of one GPU, GB.
    vram: int | None
    ram: int | None
    #: With the open port, US dollars; None when the Hub does not tell it in a unit that is known.
    hourly_rate: Decimal | None

    @classmethod
    def of(cls, document: Any) -> Self:
        """Raises `ConnectionFailed` for another shape."""
        found, gpu = mapping(document), mapping(mapping(document).get("accelerator"))
        count = _number(gpu.get("quantity")) or (1 if gpu else 0)
        memory = _number(gpu.get("vram"))
        micro = whole(found.get("unitCostMicroUSD"))
        is_known = micro is not None and found.get("unitLabel") == "minute"
        return cls(
            id=required(document, "name", "a flavour"),
            words=text(found.get("prettyName")) or required(document, "name", "a flavour"),
            gpu=text(gpu.get("model")),
            gpu_count=count,
            vram=None if memory is None else memory // max(1, count),  # the Hub tells that of all of them
            ram=_number(found.get("ram")),
            hourly_rate=Decimal(micro or 0) * 60 / 1_000_000 + PORT_RATE if is_known else None,
        )

    @property
    def resource(self) -> Resource:
        """As `list_resources` tells it. The Hub lets jobs wait, and does not say what is free."""
        return Resource(
            id=self.id, name=self.words, gpu_type=self.gpu, gpu_count=self.gpu_count, vram_gb=self.vram, ram_gb=self.ram
        )  # fmt: skip

    @property
    def pricing(self) -> PricingInfo:
        """Billed by the minute from the start of the machine on."""
        return PricingInfo(
            resource_id=self.id, hourly_rate=self.hourly_rate, billing_increment=_MINUTE, as_of=datetime.now(UTC),
            source="GET /api/jobs/hardware",
        )  # fmt: skip

    @property
    def offer(self) -> Offer:
        """As something to rent."""
        price = "unknown price" if self.hourly_rate is None else f"{self.hourly_rate:.2f} USD/h"
        return Offer(resource_id=self.id, words=f"{self.words}, {price}", hourly_rate=self.hourly_rate, details={})


def named(flavors: Iterable[Flavor], id: str) -> Flavor:
    """The flavour of that id. Raises `InvalidConfig`."""
    known = {flavor.id: flavor for flavor in flavors}
    if id not in known:
        raise InvalidConfig(f"Hugging Face has no hardware {id!r}", remedy=f"choose one of {', '.join(known)}")
    return known[id]


def offers_for(flavors: Sequence[Flavor], wanted: str | None, settings: Settings) -> list[Offer]:
    """Those that were named, else those with a GPU of memory enough; the cheapest first, none above the limit."""
    if wanted:
        found = [named(flavors, id.strip()) for id in wanted.split(",") if id.strip()]
    else:
        large = [flavor for flavor in flavors if (flavor.vram or 0) >= settings.min_vram_gb]
        found = sorted(large, key=lambda flavor: (flavor.hourly_rate is None, flavor.hourly_rate or 0))
    limit = settings.max_hourly_rate
    fit = [each for each in found if limit is None or (each.hourly_rate is not None and each.hourly_rate <= limit)]
    if found and not fit:
        raise PlatformError(f"no hardware that fits costs {limit} USD an hour or less", remedy="raise max_hourly_rate")
    return [flavor.offer for flavor in fit]


def _number(value: Any) -> int | None:
    """Of "24 GB", "2" and 2."""
    found = re.match(r"\d+", str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    return None if found is None else int(found[0])

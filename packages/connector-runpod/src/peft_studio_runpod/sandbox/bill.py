"""What something costs over time, kept as spans of constant rates on the platform's clock."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from attrs import define, field, frozen

#: USD for a GB and month; a month has 730 hours.
DISK_RUNNING: Final = Decimal("0.10")
DISK_STOPPED: Final = Decimal("0.20")
NETWORK_VOLUME: Final = Decimal("0.07")
_HOURS: Final = 730


@frozen
class Rates:
    """USD in an hour."""

    gpu: Decimal = Decimal(0)
    disk: Decimal = Decimal(0)

    @property
    def total(self) -> Decimal:
        """Both."""
        return self.gpu + self.disk


@define
class Bill:
    """Spans, oldest first; the last one goes on."""

    _spans: list[tuple[float, Rates]] = field(factory=list)

    @property
    def rates(self) -> Rates:
        """What it costs now."""
        return self._spans[-1][1] if self._spans else Rates()

    def change(self, at: float, rates: Rates) -> None:
        """From that moment on it costs this."""
        self._spans.append((at, rates))

    def between(self, start: float, end: float) -> Rates:
        """What it cost in that time, USD."""
        gpu = disk = Decimal(0)
        moments = [began for began, _ in self._spans[1:]] + [end]
        for (began, rates), ended in zip(self._spans, moments, strict=False):
            hours = Decimal(max(0.0, min(ended, end) - max(began, start))) / 3600
            gpu, disk = gpu + rates.gpu * hours, disk + rates.disk * hours
        return Rates(gpu, disk)


def disk_rate(size: int, monthly: Decimal) -> Decimal:
    """Storage of `size` GB, USD in an hour."""
    return monthly * size / _HOURS

"""What storage costs. GPUs have their price in the catalogue; RunPod tells that of storage only on its page.

Prices are US dollars, and a month has 730 hours. As estimates they are rounded up.
"""

from __future__ import annotations

from decimal import ROUND_UP, Decimal
from typing import Final

_MONTH: Final = 730
#: One GB for a month: on the host of a pod that runs, of one that is stopped, and as a network volume.
DISK: Final = Decimal("0.10")
STOPPED_DISK: Final = Decimal("0.20")
NETWORK_VOLUME: Final = Decimal("0.07")
#: Beyond this size a network volume is cheaper.
_LARGE: Final = 1000
_LARGE_VOLUME: Final = Decimal("0.05")
_EXACT: Final = Decimal("0.000001")
_EXACT_GB: Final = Decimal("0.000000001")

#: One GB for an hour while the pod runs.
GB_HOUR: Final = (DISK / _MONTH).quantize(_EXACT_GB, ROUND_UP)


def running_rate(gpus: Decimal, gigabytes: int) -> Decimal:
    """An hour of a pod that runs: its GPUs, and all of its storage."""
    return gpus + _hourly(DISK * gigabytes)


def stopped_rate(volume: int) -> Decimal:
    """An hour of a pod that is stopped: its container disk is gone, its volume stays."""
    return _hourly(STOPPED_DISK * volume)


def volume_rate(gigabytes: int) -> Decimal:
    """An hour of a network volume."""
    large = max(0, gigabytes - _LARGE)
    return _hourly(NETWORK_VOLUME * (gigabytes - large) + _LARGE_VOLUME * large)


def _hourly(monthly: Decimal) -> Decimal:
    return (monthly / _MONTH).quantize(_EXACT, ROUND_UP)

"""What the user may choose, read from texts; every fault is told at once, a sentence each.

Settings come from `connect`: they are the user's for all jobs on this account. What differs from job to job stands in
the config.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Self
from urllib.parse import urlsplit

from attrs import field, frozen

from peft_studio import InvalidConfig, Problem
from peft_studio.rented import Limits
from peft_studio.settings import read_settings

BASE_URL: Final = "https://api.runpod.io/v2"
GRAPHQL_URL: Final = "https://api.runpod.io/graphql"
PROXY_URL: Final = "https://{pod_id}-{port}.proxy.runpod.net"
#: Pinned: hosts keep what `latest` once was.
IMAGE: Final = "runpod/pytorch:1.0.2-cu1281-torch280-ubuntu2404"
CLOUDS: Final = ("SECURE", "COMMUNITY")
_HOUR: Final = 3600.0


@frozen(kw_only=True)
class Settings:
    """The user's choices, with the defaults."""

    #: Where a pod may run. Community hosts belong to strangers: that is for the user to choose.
    clouds: tuple[str, ...] = ("SECURE",)
    #: Ids or names; empty for all of them.
    gpu_types: tuple[str, ...] = ()
    data_centers: tuple[str, ...] = ()
    gpu_count: int = 1
    #: Of one GPU.
    min_vram_gb: int = 24
    #: Of a pod with its storage, US dollars.
    max_hourly_rate: Decimal | None = None
    disk_gb: int = 50
    volume_gb: int = 20
    image: str = IMAGE
    keep_hours: float = 12.0
    deadline_hours: float = 72.0
    worker_install: str | None = None
    push_to: str | None = None
    hf_token: str | None = field(default=None, repr=False)
    base_url: str = BASE_URL
    graphql_url: str = GRAPHQL_URL
    proxy_url: str = PROXY_URL

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Self:
        """From what `connect` was given; an empty text is as good as none. Raises `InvalidConfig`."""
        found, problems = read_settings(values, _READERS)
        settings = cls(**found, hf_token=values.get("hf_token") or None)
        if settings.push_to and not settings.hf_token:
            problems.append(Problem(field="push_to", message="push_to needs hf_token, a token that may write there"))
        if problems:
            raise InvalidConfig.from_problems("settings of runpod", problems)
        return settings

    @property
    def manufacturer(self) -> str:
        """Whose GPUs the image is made for."""
        return "AMD" if "rocm" in self.image.lower() else "NVIDIA"

    @property
    def min_cuda(self) -> str | None:
        """The CUDA that the image brings, as its name tells it (`cu1281`): a host's driver must be able to run it."""
        if self.manufacturer != "NVIDIA":
            return None
        named = re.search(r"cu(?:da)?(\d\d)\.?(\d)", self.image.rpartition("/")[2].lower())
        return None if named is None else f"{named[1]}.{named[2]}"

    @property
    def limits(self) -> Limits:
        """What ends a pod that nobody looks after."""
        return Limits(deadline=self.deadline_hours * _HOUR, keep=self.keep_hours * _HOUR)


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def _clouds(text: str) -> tuple[str, ...]:
    clouds = _words(text.upper())
    if not clouds or not set(clouds) <= set(CLOUDS):
        raise ValueError("SECURE, COMMUNITY or both, separated by a comma")
    return clouds


def _whole(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch(r"\d{1,6}", text) or int(text) < least:
            raise ValueError(f"a whole number of at least {least}")
        return int(text)

    return read


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(0)
    if not amount.is_finite() or amount <= 0:
        raise ValueError("a number of more than 0")
    return amount


def _hours(text: str) -> float:
    return float(_amount(text))


def _repository(text: str) -> str:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", text):
        raise ValueError("a repository such as me/adapters")
    return text


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("https", "http") or not parts.netloc:
        raise ValueError("an address that begins with https://")
    return text


def _proxy(text: str) -> str:
    if "{pod_id}" not in text or "{port}" not in text:
        raise ValueError("an address with {pod_id} and {port} in it")
    return _address(text)


_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "clouds": _clouds,
    "gpu_types": _words,
    "data_centers": _words,
    "gpu_count": _whole(1),
    "min_vram_gb": _whole(1),
    "max_hourly_rate": _amount,
    "disk_gb": _whole(1),
    "volume_gb": _whole(10),
    "image": str,
    "keep_hours": _hours,
    "deadline_hours": _hours,
    "worker_install": str,
    "push_to": _repository,
    "base_url": _address,
    "graphql_url": _address,
    "proxy_url": _proxy,
}

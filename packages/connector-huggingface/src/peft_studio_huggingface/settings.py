"""What the user may choose, read from the texts that `connect` is given."""

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

BASE_URL: Final = "https://huggingface.co"
ENDPOINTS_URL: Final = "https://api.endpoints.huggingface.cloud/v2"
ROUTER_URL: Final = "https://router.huggingface.co/v1"
#: As huggingface_hub 2.4.0 names it in an example; its releases are told apart by the tag.
SERVING_IMAGE: Final = "vllm/vllm-openai:v0.23.0"
IMAGE: Final = "pytorch/pytorch:2.6.0-cuda12.4-cudnn9-devel"
_HOUR: Final = 3600


@frozen(kw_only=True)
class Settings:
    """Every choice; what is not given is as here."""

    #: A user or an organisation; None for the user of the token.
    namespace: str | None = None
    #: Other formats than safetensors can hold code that runs when they are loaded.
    weights: str = "safetensors"
    search_limit: int = 1000
    #: None leaves it to the address.
    xet: bool | None = None
    #: Of one GPU, where a job or an endpoint names no hardware.
    min_vram_gb: int = 16
    #: Of a job with its open port, or of an endpoint's instance, US dollars.
    max_hourly_rate: Decimal | None = None
    image: str = IMAGE
    keep_hours: float = 12.0
    deadline_hours: float = 72.0
    worker_install: str | None = None
    push_to: str | None = None
    job_token: str | None = field(default=None, repr=False)
    #: How long an endpoint is waited for that comes up.
    wait_minutes: float = 10.0
    serving_image: str = SERVING_IMAGE
    base_url: str = BASE_URL
    #: None for those who have no endpoints, and whose network may not even reach their API.
    endpoints_url: str | None = ENDPOINTS_URL
    router_url: str = ROUTER_URL

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Self:
        """From what `connect` was given; an empty text is as good as none. Raises `InvalidConfig`."""
        found, problems = read_settings(values, _READERS)
        settings = cls(**found, job_token=values.get("job_token") or None)
        if settings.push_to and not settings.job_token:
            problems.append(Problem(field="push_to", message="push_to needs job_token, a token that may write there"))
        if problems:
            raise InvalidConfig.from_problems("settings of huggingface", problems)
        return settings

    @property
    def limits(self) -> Limits:
        """What ends a job that nobody looks after."""
        return Limits(deadline=self.deadline_hours * _HOUR, keep=self.keep_hours * _HOUR)

    @property
    def uses_xet(self) -> bool:
        """Mirrors have no Xet, and a client that uses it never falls back to LFS."""
        return self.base_url == BASE_URL if self.xet is None else self.xet


def _namespace(text: str) -> str:
    if not re.fullmatch(r"[\w.-]+", text, re.ASCII):
        raise ValueError("the name of a user or an organisation")
    return text


def _weights(text: str) -> str:
    if text.lower() not in ("safetensors", "all"):
        raise ValueError("safetensors or all")
    return text.lower()


def _positive(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) < 1:
        raise ValueError("a whole number of at least 1")
    return int(text)


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
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", text, re.ASCII):
        raise ValueError("a repository such as me/adapters")
    return text


def _switch(text: str) -> bool:
    if text.lower() not in ("yes", "no"):
        raise ValueError("yes or no")
    return text.lower() == "yes"


def _address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("https", "http") or not parts.netloc:
        raise ValueError("an address that begins with https://")
    return text.rstrip("/")


def _address_or_off(text: str) -> str | None:
    if text.lower() == "off":
        return None
    try:
        return _address(text)
    except ValueError as fault:
        raise ValueError(f"{fault}, or off") from None


_READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "namespace": _namespace,
    "weights": _weights,
    "search_limit": _positive,
    "xet": _switch,
    "min_vram_gb": _positive,
    "max_hourly_rate": _amount,
    "image": str,
    "keep_hours": _hours,
    "deadline_hours": _hours,
    "worker_install": str,
    "push_to": _repository,
    "wait_minutes": _hours,
    "serving_image": str,
    "base_url": _address,
    "endpoints_url": _address_or_off,
    "router_url": _address,
}

"""Inference Endpoints over plain HTTP. Their API has an address of its own, and every endpoint another."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

from peft_studio import (
    ArtifactNotFound,
    CapacityError,
    InsufficientCreditsError,
    InvalidCredentials,
    PlatformError,
    Transport,
)
from peft_studio_huggingface.endpoints import Endpoint, Instance
from peft_studio_huggingface.reading import mapping, unreadable

#: How the API may word that there is no machine; no document states it.
_SCARCE: Final = re.compile(r"quota|capacity|not available|unavailable|out of stock", re.IGNORECASE)


class EndpointsApi:
    """Those that a token may manage."""

    def __init__(self, token: str, url: str) -> None:
        self._api = Transport(url, headers={"Authorization": f"Bearer {token}"}, secrets=[token])

    async def close(self) -> None:
        """Let go of every connection."""
        await self._api.close()

    async def instances(self, namespace: str) -> list[Instance]:
        """What can be had there, with prices."""
        with _explained():
            return list(Instance.every(await self._api.get("provider", namespace)))

    async def endpoints(self, namespace: str) -> list[Endpoint]:
        """All of a namespace."""
        with _explained():
            answer = mapping(await self._api.get("endpoint", namespace)).get("items")
        if not isinstance(answer, list):
            raise unreadable("it is no list of endpoints")
        return [Endpoint.of(item, namespace) for item in answer]

    async def endpoint(self, namespace: str, name: str) -> Endpoint:
        """Raises `ArtifactNotFound`."""
        with _explained():
            return Endpoint.of(await self._api.get("endpoint", namespace, name, missing=ArtifactNotFound), namespace)

    async def find(self, namespace: str, name: str) -> Endpoint | None:
        """None where there is none of that name."""
        try:
            return await self.endpoint(namespace, name)
        except ArtifactNotFound:
            return None

    async def create(self, namespace: str, body: Mapping[str, Any]) -> Endpoint | None:
        """Asked once; None when there is one of that name already. Raises `CapacityError` for want of a machine."""
        try:
            with _explained():
                return Endpoint.of(await self._api.post("endpoint", namespace, json=body), namespace)
        except InsufficientCreditsError:
            raise
        except (PlatformError, InvalidCredentials) as error:
            if error.http_status == HTTPStatus.CONFLICT:
                return None
            if _SCARCE.search(error.why or ""):
                raise _scarce(error) from None
            raise

    async def resume(self, namespace: str, name: str) -> None:
        """Let a paused one run again; one that runs is fine."""
        try:
            with _explained():
                await self._api.post("endpoint", namespace, name, "resume", json={}, idempotent=True, may_be_empty=True)
        except PlatformError as error:
            if error.http_status != HTTPStatus.BAD_REQUEST:
                raise

    async def delete(self, namespace: str, name: str) -> None:
        """One that is gone is fine."""
        try:
            with _explained():
                path = ("endpoint", namespace, name)
                await self._api.delete(*path, missing=ArtifactNotFound, idempotent=True, may_be_empty=True)
        except ArtifactNotFound:
            return


def _scarce(error: PlatformError | InvalidCredentials) -> CapacityError:
    scarce = CapacityError(error.what, why=error.why, remedy="choose another instance, or ask for more quota")
    scarce.http_status, scarce.observed = error.http_status, error.observed
    return scarce


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except InvalidCredentials as error:
        error.remedy = "the token needs the permission to manage Inference Endpoints in that namespace"
        raise

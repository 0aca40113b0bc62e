"""RunPod's REST v2, and GraphQL for the account alone: what is asked, and what RunPod's refusals mean.

A 403 may come from RunPod, which then knows the key and does not let it do this, or from the edge in front of it, which
knows no keys and speaks no JSON.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Final

from attrs import frozen

from peft_studio import (
    ConnectionFailed,
    InvalidCredentials,
    JobNotFound,
    Observed,
    PlatformError,
    Rental,
    Transport,
)
from peft_studio.transport import ServerSentEvent
from peft_studio_runpod.catalogue import Gpu, gpus_of
from peft_studio_runpod.pods import TERMINATED, USER_AGENT, Pod
from peft_studio_runpod.prices import volume_rate
from peft_studio_runpod.reading import money, text, whole
from peft_studio_runpod.settings import CLOUDS, Settings

KEYS: Final = "look at Settings > API Keys on RunPod's page"


@frozen(kw_only=True)
class Account:
    """What GraphQL says of the account, US dollars."""

    id: str
    balance: Decimal | None
    #: What everything that is rented costs in an hour.
    hourly_spend: Decimal | None


class RunpodApi:
    """One account."""

    def __init__(self, key: str, settings: Settings) -> None:
        headers = {"Authorization": f"Bearer {key}", "User-Agent": USER_AGENT}
        secrets = [secret for secret in (key, settings.hf_token) if secret]
        self._settings = settings
        self._rest = Transport(settings.base_url, headers=headers, secrets=secrets)
        self._graphql = Transport(settings.graphql_url, headers=headers, secrets=secrets)

    async def close(self) -> None:
        """Let go of every connection."""
        await self._rest.close()
        await self._graphql.close()

    @property
    def observed(self) -> Observed | None:
        """What REST answers say of themselves."""
        return self._rest.observed

    async def verify(self) -> None:
        """Raises `InvalidCredentials` unless the key may look at pods."""
        with _explained():
            _list(await self._rest.get("pods"), "pods")

    # The catalogue.

    async def gpus(self) -> list[Gpu]:
        """With prices, for both clouds."""
        with _explained():
            rows = _list(await self._rest.get("catalog", "gpus"), "gpus")
        return list(gpus_of(rows))

    async def gpus_in_stock(self) -> list[Gpu]:
        """With what is free of them for such a pod; the stock of each cloud is a question of its own."""
        wanted = {"count": self._settings.gpu_count, "minCudaVersion": self._settings.min_cuda}
        found: list[Gpu] = []
        for cloud in CLOUDS:
            query = {"include": "AVAILABILITY", "product": "POD", "cloud": cloud, **wanted}
            with _explained():
                rows = _list(await self._rest.get("catalog", "gpus", query=query), "gpus")
            found += gpus_of(rows, [cloud])
        return found

    # Pods.

    async def pods(self) -> list[Pod]:
        """All that there are, those of clusters too."""
        query = {"includeClusterPods": True}
        with _explained():
            pages = self._rest.pages("pods", items="pods", cursor="pagination.nextCursor", query=query)
            async with aclosing(pages) as items:
                pods = [Pod.of(item) async for item in items]
        return [pod for pod in pods if pod.status != TERMINATED]

    async def pod(self, id: str) -> Pod:
        """Raises `JobNotFound`, also for one that is only remembered.

        A 404 may come from anything between here and RunPod: the pod is gone when the list does not have it either.
        """
        try:
            with _explained():
                pod = Pod.of(await self._rest.get("pods", id, missing=JobNotFound))
        except JobNotFound as error:
            if id in {pod.id for pod in await self.pods()}:
                raise ConnectionFailed(error.what, why="its list has the pod", connector=error.connector) from None
            raise
        if pod.status == TERMINATED:
            raise JobNotFound(f"RunPod has no pod {id} any more", why=pod.status)
        return pod

    async def create(self, body: Mapping[str, Any]) -> Pod:
        """Asked once: RunPod keeps no key by which it would know a repetition."""
        return Pod.of(await self._rest.post("pods", json=body))

    async def act(self, id: str, action: str) -> Pod:
        """Start or stop it. The same action twice is refused with 409, and does no harm."""
        with _explained():
            path = ("pods", id, "action")
            return Pod.of(await self._rest.post(*path, json={"action": action}, missing=JobNotFound, idempotent=True))

    async def delete(self, id: str) -> None:
        """Delete it; one that is gone is fine."""
        await self._delete("pods", id)

    async def log(self, id: str, query: Mapping[str, Any], cursor: str | None) -> AsyncGenerator[ServerSentEvent]:
        """Lines of its log as they come."""
        path = ("pods", id, "logs")
        with _explained():
            lines = self._rest.events(*path, query=query, last_event_id=cursor, missing=JobNotFound)
            async with aclosing(lines):
                async for line in lines:
                    yield line

    async def billed(self, id: str) -> Decimal:
        """What RunPod has billed for it so far, US dollars; its bills come late."""
        with _explained():
            answer = await self._rest.get("billing", "pods", query={"podId": id, "bucketSize": "day"})
        amounts = [money(record.get("totalAmount")) for record in _list(answer, "records")]
        return sum((amount for amount in amounts if amount is not None), Decimal(0))

    # Storage and account.

    async def volumes(self) -> list[Rental]:
        """The network volumes."""
        with _explained():
            rows = _list(await self._rest.get("network-volumes"), "networkVolumes")
        return [_volume(row) for row in rows]

    async def delete_volume(self, id: str) -> None:
        """Delete it with all that is on it; one that is gone is fine."""
        await self._delete("network-volumes", id)

    async def account(self) -> Account:
        """Raises `InvalidCredentials` when GraphQL does not know the key."""
        query = "query { myself { id clientBalance currentSpendPerHr } }"
        with _explained():
            answer = await self._graphql.post(json={"query": query}, idempotent=True)
        myself = _mapping(_mapping(_mapping(answer).get("data")).get("myself"))
        id = text(myself.get("id"))
        if id is None:
            raise PlatformError("RunPod tells nothing of the account", why=_words(answer))
        balance, spend = (money(myself.get(name)) for name in ("clientBalance", "currentSpendPerHr"))
        return Account(id=id, balance=balance, hourly_spend=spend)

    async def _delete(self, kind: str, id: str) -> None:
        try:
            with _explained():
                await self._rest.delete(kind, id, missing=JobNotFound, idempotent=True, may_be_empty=True)
        except JobNotFound:
            return


def is_forbidden(error: InvalidCredentials) -> bool:
    """True when RunPod knows the key, and does not let it do this."""
    return error.http_status == HTTPStatus.FORBIDDEN and not is_of_the_edge(error)


def is_of_the_edge(error: InvalidCredentials) -> bool:
    """True for a 403 that has not reached RunPod: the edge says `error code: 1010`, or nothing."""
    is_mute = error.why == HTTPStatus.FORBIDDEN.phrase
    return error.http_status == HTTPStatus.FORBIDDEN and (
        is_mute or re.match(r"error code: \d+", error.why or "") is not None
    )


@contextmanager
def _explained() -> Iterator[None]:
    """Errors with what to do about them."""
    try:
        yield
    except InvalidCredentials as error:
        raise explained(error) from None


def explained(error: InvalidCredentials) -> ConnectionFailed | InvalidCredentials:
    """What a 401 or 403 means here."""
    if not is_of_the_edge(error):
        valid = f"the key is valid and lacks the permission for this: {KEYS}"
        error.remedy = valid if is_forbidden(error) else f"the key is not known: {KEYS}"
        return error
    remedy = "the edge in front of RunPod has turned this machine away; the key was not looked at: try again later"
    blocked = ConnectionFailed(error.what, why=error.why, remedy=remedy, connector=error.connector)
    blocked.http_status, blocked.observed = error.http_status, error.observed
    return blocked


def _list(answer: Any, name: str) -> list[Mapping[str, Any]]:
    found = _mapping(answer).get(name)
    if not isinstance(found, list) or not all(isinstance(item, Mapping) for item in found):
        raise ConnectionFailed("RunPod's answer cannot be read", why=f"it has no list of {name}")
    return found


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _words(answer: Any) -> str:
    """What GraphQL says in place of an answer."""
    errors = _mapping(answer).get("errors")
    said = [text(_mapping(error).get("message")) for error in (errors if isinstance(errors, list) else ())]
    return "; ".join(filter(None, said))[:300] or "no account belongs to the key"


def _volume(row: Mapping[str, Any]) -> Rental:
    id, size = text(row.get("id")), whole(row.get("size"))
    if id is None:
        raise ConnectionFailed("RunPod's answer cannot be read", why="it has a network volume without an id")
    rate = None if size is None else volume_rate(size)
    kept = " ".join(str(each) for each in (size, "GB", row.get("type"), row.get("dataCenter")) if each)
    return Rental(id=id, name=text(row.get("name")) or id, kind="storage", status=kept, hourly_rate=rate)

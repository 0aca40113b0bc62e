"""Jobs over plain HTTP: of one namespace, which pays for them."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import Any, Final

from peft_studio import ConnectionFailed, InvalidCredentials, JobNotFound, Transport
from peft_studio_huggingface.flavors import Flavor
from peft_studio_huggingface.hub_job import ALIVE, FAILED, OVER, HubJob
from peft_studio_huggingface.reading import mapping, text, unreadable

#: Attempts to read a log to its end.
_ATTEMPTS: Final = 3


class JobsApi:
    """Jobs of one namespace, through the transport of the Hub; `others` are those that the account has besides."""

    def __init__(self, hub: Transport, namespace: str, others: Iterable[str] = ()) -> None:
        self._hub = hub
        self._namespace = namespace
        self._others = tuple(others)
        self._path = ("api", "jobs", namespace)

    async def flavors(self) -> list[Flavor]:
        """With prices."""
        answer = await self._hub.get("api", "jobs", "hardware")
        if not isinstance(answer, list):
            raise unreadable("it is no list of hardware")
        return [Flavor.of(item) for item in answer]

    async def run(self, body: Mapping[str, Any]) -> HubJob:
        """Asked once: two of these are two jobs."""
        with _explained():
            return HubJob.of(await self._hub.post(*self._path, json=body))

    async def job(self, id: str) -> HubJob:
        """Raises `JobNotFound`, and `ConnectionFailed` for one that another namespace has: it may well be running."""
        try:
            return await self._job(self._namespace, id)
        except JobNotFound:
            await self._require_nowhere_else(id)
            raise

    async def _job(self, namespace: str, id: str) -> HubJob:
        with _explained():
            return HubJob.of(await self._hub.get("api", "jobs", namespace, id, missing=JobNotFound))

    async def _require_nowhere_else(self, id: str) -> None:
        for other in self._others:
            try:
                await self._job(other, id)
            except (JobNotFound, InvalidCredentials):  # a token that may not ask there has started nothing there
                continue
            what, why = f"job {id} belongs to {other}", f"the namespace in use is {self._namespace}"
            raise ConnectionFailed(what, why=why, remedy=f"set namespace to {other}")

    async def alive(self) -> list[HubJob]:
        """Those that cost, or will, and those of a stage that nobody knows: they may."""
        query = {"stage": list(ALIVE)}
        with _explained():
            async with aclosing(self._hub.pages(*self._path, items=None, by_link=True, query=query)) as items:
                jobs = [HubJob.of(item) async for item in items]
        return [job for job in {job.id: job for job in jobs}.values() if job.stage not in (*OVER, FAILED)]

    async def cancel(self, id: str) -> None:
        """End it; one that is gone or over is fine."""
        try:
            with _explained():
                path = (*self._path, id, "cancel")
                await self._hub.post(*path, json={}, missing=JobNotFound, idempotent=True, may_be_empty=True)
        except JobNotFound:
            return

    async def log(self, id: str) -> AsyncGenerator[str]:
        """Every line once: the Hub begins anew whenever it is asked again."""
        told = 0
        for attempt in range(1, _ATTEMPTS + 1):
            number = 0
            try:
                async with aclosing(self._hub.events(*self._path, id, "logs", missing=JobNotFound)) as events:
                    async for event in events:
                        number += 1
                        if number > told:
                            told = number
                            yield _line(event.data)
                return
            except ConnectionFailed:
                if attempt == _ATTEMPTS:
                    raise


def _line(data: str) -> str:
    try:
        return text(mapping(json.loads(data)).get("data")) or ""
    except ValueError:
        return data


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except InvalidCredentials as error:
        error.remedy = "the token needs the permission to start and manage Jobs in that namespace"
        raise

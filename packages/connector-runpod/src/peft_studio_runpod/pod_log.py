"""A pod's log as RunPod streams it, from the first line that it still has, each line once, until the pod is gone.

RunPod says nothing at all before there is a first line, not even that it has heard; it refuses young pods now and then;
and a cursor that it no longer knows is refused, too. So silence and refusals are no end: it is asked again, from the
time of the last line if need be. What it cannot do: tell the end of a log from a pause, and promise the order of lines
from the container and from the system.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final

from peft_studio import ConnectionFailed, JobNotFound, PlatformError, RateLimitError
from peft_studio_runpod.api import RunpodApi
from peft_studio_runpod.reading import text

#: Lines of the past that RunPod gives at most.
_PAST: Final = 5000
#: Seconds until it is asked again, at most.
_LONGEST_PAUSE: Final = 15.0
#: Refusals in a row, until there is no log to be had.
_REFUSALS: Final = 12


class PodLog:
    """What has been read of one log so far.

    `pause`, in seconds, is made before it is asked again; it is twice as long after each time that brought nothing.
    """

    def __init__(self, api: RunpodApi, pod_id: str, *, pause: float = 0.5) -> None:
        self._api = api
        self._id = pod_id
        self._pause = pause
        #: Of the last line: its cursor, and its time.
        self._cursor: str | None = None
        self._since: str | None = None
        #: The lines that may come again when the log is asked for by time, oldest first.
        self._known: dict[tuple[str, str], None] = {}

    async def lines(self) -> AsyncGenerator[str]:
        """The lines as they come; ends when the pod is gone. Raises `PlatformError` when RunPod gives no log."""
        pause, refusals = self._pause, 0
        while True:
            try:
                async with aclosing(self._connection()) as lines:
                    async for line in lines:
                        pause, refusals = self._pause, 0
                        yield line
            except JobNotFound:
                return
            except RateLimitError as error:
                pause = max(pause, error.retry_after or 0.0)
            except ConnectionFailed:
                pass  # nobody spoke for a while
            except PlatformError:
                self._cursor = None  # perhaps a stale one
                refusals += 1
                if refusals > _REFUSALS:
                    raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    async def _connection(self) -> AsyncGenerator[str]:
        query = {"since": self._since} if self._since and not self._cursor else {"tail": _PAST}
        async with aclosing(self._api.log(self._id, query, self._cursor)) as events:
            async for event in events:
                at, line = _read(event.data)
                key = (event.id, event.data)
                if key in self._known:
                    continue
                self._remember(key)
                self._cursor, self._since = event.id or None, at or self._since
                yield line

    def _remember(self, key: tuple[str, str]) -> None:
        self._known[key] = None
        if len(self._known) > _PAST:
            del self._known[next(iter(self._known))]


def _read(data: str) -> tuple[str | None, str]:
    """Time and text of a line; what is not as documented is shown as it came."""
    try:
        document = json.loads(data)
    except ValueError:
        document = None
    values: Mapping[str, Any] = document if isinstance(document, Mapping) else {}
    line = values.get("line")
    return text(values.get("ts")), line if isinstance(line, str) else data

"""Asks no faster than a platform lets one account ask, in all programs of the user together.

What the platform has said (429 with `Retry-After`, a limit of which nothing is left) holds for every program until that
moment. Quotas of connector.json are shared out: half of one may be used at once, the other half is spread over its
window, so that no window sees more than the quota. Both lie in small files for each account and host, which are worth
nothing by themselves: where they cannot be used, each program keeps to what it has heard itself.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from peft_studio import paths
from peft_studio._file_lock import FileLock
from peft_studio._state_file import StateFile
from peft_studio._transport.errors import LONGEST_WAIT, ErrorMaker
from peft_studio._transport.requests import Request
from peft_studio.account_id import account_id
from peft_studio.errors import PeftStudioError, RateLimitError

#: Seconds in the window of each quota that connector.json may declare.
WINDOWS: Final = {
    "requests_per_second": 1.0,
    "requests_per_minute": 60.0,
    "requests_per_hour": 3600.0,
    "requests_per_day": 86400.0,
}
#: Seconds. A platform that asks for more, or a clock that was set back, is not believed.
_LONGEST_REST: Final = 86400.0
#: Seconds that a program waits for the next turn of a declared quota, between two looks, and until a wait is told.
_LONGEST_TURN, _POLL, _SILENT = 60.0, 0.002, 2.0

_logger = logging.getLogger("peft_studio.transport")


class Pace:
    """The pace of one account, which `secrets` make that account, at `origin`; `limits` are quotas by their names."""

    def __init__(
        self, origin: str, secrets: Collection[str], limits: Mapping[str, float], make_error: ErrorMaker
    ) -> None:
        self._origin = origin
        self._secrets = sorted(secrets)
        self._quotas = {name: float(limits[name]) for name in WINDOWS if name in limits}
        self._make_error = make_error
        #: Seconds since 1970 at which the platform listens again, as far as this program has heard.
        self._until = 0.0

    async def turn(self, request: Request) -> None:
        """Wait until this request may be sent. Raises `RateLimitError` when that would take long.

        What is urgent is held back for a moment only: it may end a bill, and a limit may be one of another address.
        """
        if request.origin != self._origin:
            return
        rest = self._rest()
        if rest > LONGEST_WAIT and not request.is_urgent:
            raise self._too_early(request, rest)
        if rest > 0:
            await asyncio.sleep(min(rest, LONGEST_WAIT) + random.uniform(0, 0.05))  # noqa: S311 -- no secret
        if self._quotas:
            await self._wait_in_line(request)

    def rest(self, request: Request, seconds: float) -> None:
        """The platform wants no more requests for so long."""
        if request.origin != self._origin or not 0 < seconds <= _LONGEST_REST:
            return
        self._until = max(self._until, time.time() + seconds)
        file = self._file("rest")
        if file is not None and self._until > _number(file.read().get("until")):
            file.write({"until": self._until})
            _sweep(file.path.parent)

    def _rest(self) -> float:
        """Seconds until the platform listens again."""
        file = self._file("rest")
        content = file.read() if file is not None else {}
        seconds = max(self._until, _number(content.get("until"))) - time.time()
        if 0 < seconds <= _LONGEST_REST:
            return seconds
        if content and file is not None:
            file.forget()
        return 0.0

    async def _wait_in_line(self, request: Request) -> None:
        file = self._file("turns")
        if file is None:
            return
        lock = await _locked(file.path.with_suffix(".lock"))
        try:
            wait, following = self._next_turn(file.read())
            if wait > _LONGEST_TURN and not request.is_urgent:
                what = f"{request} was not sent"
                raise self._make_error(RateLimitError, what, why=self._quota_words, retry_after=round(wait, 1))
            file.write(following)
        finally:
            lock.release()
        if wait > 0 and not request.is_urgent:
            if wait > _SILENT:
                _logger.warning("%s waits %.0f s: %s", request, wait, self._quota_words)
            await asyncio.sleep(wait)

    def _next_turn(self, known: Mapping[str, Any]) -> tuple[float, dict[str, float]]:
        """Seconds until the next turn, and what to remember of it: the generic cell rate algorithm."""
        now = start = time.time()
        following = {}
        for name, quota in self._quotas.items():
            step = 2 * WINDOWS[name] / quota
            ahead = max(0.0, WINDOWS[name] - step)
            last = _number(known.get(name))
            last = now if last > now + _LONGEST_REST else max(now, last)
            start = max(start, last - ahead)
            following[name] = last + step
        return start - now, following

    def _too_early(self, request: Request, rest: float) -> PeftStudioError:
        until = datetime.fromtimestamp(time.time() + rest, UTC)
        return self._make_error(
            RateLimitError,
            f"{request} was not sent",
            why=f"the platform wants no more requests until {until:%Y-%m-%d %H:%M:%S} UTC",
            remedy=f"try again in {rest:.0f} s",
            retry_after=round(rest, 1),
        )

    @property
    def _quota_words(self) -> str:
        return "connector.json allows " + ", ".join(f"{quota:g} {name}" for name, quota in self._quotas.items())

    def _file(self, kind: str) -> StateFile | None:
        """What all programs of the user know of this account; None where the state directory cannot be used."""
        if self._name is None:
            return None
        path = paths.state_dir() / "pace" / f"{self._name}.{kind}.json"
        return StateFile(path.name, loss="other programs may ask too early", path=path)

    @cached_property
    def _name(self) -> str | None:
        try:
            account = account_id({str(number): secret for number, secret in enumerate(self._secrets)})
        except PeftStudioError as error:
            _logger.warning("other programs may ask the same platform too early: %s", error)
            return None
        return f"{quote(self._origin, safe='')}-{account}"


def _sweep(folder: Path) -> None:
    """Remove what says nothing any more, of accounts that are perhaps never asked again."""
    oldest = time.time() - _LONGEST_REST
    try:
        for file in folder.iterdir():
            if file.stat().st_mtime < oldest:
                file.unlink(missing_ok=True)
    except OSError as error:
        _logger.debug("%s cannot be swept: %s", folder, error)


async def _locked(path: Path) -> FileLock:
    """The lock of the turns. Who cannot have it soon goes on without: nothing is lost but the pace."""
    lock = FileLock(path)
    for _ in range(500):
        try:
            if lock.try_acquire():
                break
        except OSError as error:
            _logger.warning("%s cannot be locked (%s); programs do not wait for each other", path, error)
            break
        await asyncio.sleep(_POLL)
    return lock


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0

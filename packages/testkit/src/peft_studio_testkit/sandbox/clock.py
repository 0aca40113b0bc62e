"""The platform's clock: under the control of a test, or moving by itself for people.

Everything that a sandbox lets happen later is computed from `now()`, so that nothing has to be set in motion when time
passes; who waits for something is woken by each change and looks again.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Final

#: How often a waiter looks when things move by themselves, seconds of real time.
POLL: Final = 0.02


class Clock:
    """Seconds since the start. `speed` 0 stands still between two `advance`; 1 is real time, 60 a minute a second."""

    def __init__(self, speed: float = 0.0) -> None:
        #: True when something besides `advance` and `ring` can make a waiter's condition come true.
        self.is_moving = speed > 0
        self._speed = speed
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.Future[None], asyncio.AbstractEventLoop] = {}
        self.reset()

    def reset(self) -> None:
        """Back to 0."""
        with self._lock:
            self._advanced = 0.0
            self._began = time.monotonic()
        self.ring()

    def now(self) -> float:
        """Seconds since the start."""
        with self._lock:
            return self._advanced + self._speed * (time.monotonic() - self._began)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass at once, and wake whoever waits. Any thread may call it."""
        if seconds < 0:
            raise ValueError(f"time does not run backwards: advance({seconds})")
        with self._lock:
            self._advanced += seconds
        self.ring()

    def ring(self) -> None:
        """Wake everybody who waits: something changed. Any thread may call it."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for bell, loop in waiting.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_wake, bell)

    async def sleep(self, seconds: float) -> None:
        """Return when `seconds` more have passed on this clock."""
        await self.sleep_until(self.now() + seconds)

    async def sleep_until(self, moment: float) -> None:
        """Return when `now()` has reached `moment`."""
        await self.until(lambda: self.now() >= moment)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when `condition()` is true; it is looked at after each change of the clock or of a job."""
        while True:
            bell = self._listen()  # before looking: a change in between is not missed
            try:
                if condition():
                    return
                await asyncio.wait([bell], timeout=POLL if self.is_moving else None)
            finally:
                with self._lock:
                    self._waiting.pop(bell, None)

    def _listen(self) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        bell = loop.create_future()
        with self._lock:
            self._waiting[bell] = loop
        return bell


def _wake(bell: asyncio.Future[None]) -> None:
    if not bell.done():
        bell.set_result(None)

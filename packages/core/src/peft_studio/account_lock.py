"""One purchase at a time for each account: whoever else wants to buy there waits, and says what for.

Two programs that look at one offer at one moment both buy it. The lock is a file in the state directory, named by the
connector and a keyed hash of the credentials: the key is this machine's own, so the name gives nothing away. An account
that is reached with two different keys has two locks, for nobody but the platform knows that they are one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final

from peft_studio._file_lock import FileLock
from peft_studio.account_id import account_id
from peft_studio.credentials.gathering import is_secret
from peft_studio.errors import PeftStudioError
from peft_studio.paths import state_dir

if TYPE_CHECKING:
    from peft_studio.registry import ConnectorRegistry
    from peft_studio.secret import Secret

_log = logging.getLogger(__name__)

#: Seconds between two looks, and until a wait is told.
_POLL: Final = 0.02
_SILENT: Final = 2.0


class AccountLock:
    """The lock of one account at one platform. `secrets_of_account` are the credentials that make it that account."""

    def __init__(self, connector: str, secrets_of_account: Mapping[str, str]) -> None:
        self._connector = connector
        self._lock = FileLock(state_dir() / "accounts" / f"{connector}-{account_id(secrets_of_account)}.lock")

    @property
    def path(self) -> Path:
        """The file."""
        return self._lock.path

    def try_acquire(self) -> bool:
        """True when nobody else is buying there now, and from now on nobody else is. Raises `PeftStudioError`."""
        try:
            return self._lock.try_acquire()
        except OSError as error:
            what = f"{self.path} cannot be locked, so another program might buy the same"
            raise PeftStudioError(what, why=error.strerror, remedy="mend the state directory") from error

    def release(self) -> None:
        """Let the next one buy."""
        self._lock.release()

    @asynccontextmanager
    async def held(self) -> AsyncGenerator[None]:
        """Wait until nobody else buys there; a long wait is logged once."""
        began, is_told = monotonic(), False
        while not self.try_acquire():
            if not is_told and monotonic() - began > _SILENT:
                is_told = True
                _log.warning("waiting for another program that is submitting to the same %s account", self._connector)
            await asyncio.sleep(_POLL)
        try:
            yield
        finally:
            self.release()


class Accounts:
    """The accounts of one manager: `given` are the fields with which each connector was connected."""

    def __init__(self, registry: ConnectorRegistry, given: Mapping[str, Mapping[str, Secret]]) -> None:
        self._registry = registry
        self._given = given

    def lock(self, connector: str) -> AccountLock | None:
        """The lock of the account; None for a platform that wants no secret, where nothing is bought."""
        manifest = self._registry.describe(connector).manifest
        given = self._given.get(connector, {})
        account = {key: value.reveal() for key, value in given.items() if is_secret(manifest, key, value)}
        return AccountLock(connector, account) if account else None

    @asynccontextmanager
    async def buying(self, connector: str) -> AsyncGenerator[None]:
        """Wait for the lock, where there is one, and hold it."""
        lock = self.lock(connector)
        if lock is None:
            yield
            return
        async with lock.held():
            yield

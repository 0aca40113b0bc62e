"""The connections of one manager: opened once, with credentials from several places, in one event loop.

A connector keeps sockets and tasks of the loop that it was connected in. Calling it from another loop hangs or fails
in words that nobody understands, so it is refused here.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any

from peft_studio.account_lock import Accounts
from peft_studio.connector import PlatformConnector
from peft_studio.credentials import Gathered, gather, require
from peft_studio.credentials.vaults import ask_vaults
from peft_studio.errors import ConnectionFailed, InvalidConfig, PeftStudioError
from peft_studio.hooks import Outcome
from peft_studio.models import Observed
from peft_studio.registry import ConnectorRegistry
from peft_studio.secret import Secret
from peft_studio.session import Session


class Connections:
    """Opens, keeps and closes sessions; every call to a platform begins here."""

    def __init__(self, registry: ConnectorRegistry, credentials: Mapping[str, Mapping[str, str]] | None = None) -> None:
        self.registry = registry
        #: The latest failures of plugins that only observe or lend; they stop nothing.
        self.hook_failures: deque[Outcome] = deque(maxlen=100)
        self._credentials = {name: _fields(name, given) for name, given in (credentials or {}).items()}
        #: What each connector was given last; its secrets stay masked while the manager lives.
        self._gathered: dict[str, Mapping[str, Secret]] = {}
        self._sessions: dict[str, Session] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def _accounts(self) -> Accounts:
        return Accounts(self.registry, self._gathered)

    async def connect(self, name: str, credentials: Mapping[str, str] | None = None) -> bool:
        """Connect, once however often it is asked for; other credentials replace the connection.

        Fields that `credentials` leaves out come from the credentials that the manager was made with, the environment,
        vault plugins, the encrypted file, the keyring, and the platform's own login file, in this order. Raises
        `ConnectorNotFound`, `BrokenConnector`, `InvalidCredentials` and `ConnectionFailed`; after each of them there
        is no connection.
        """
        self._stay_in_loop()
        async with self._locks.setdefault(name, asyncio.Lock()):
            if credentials is None and name in self._sessions:
                return True
            connector = await asyncio.to_thread(self.registry.activate, name)
            gathered = await asyncio.to_thread(self._gather, name, credentials)
            if name in self._sessions and self._sessions[name].was_opened_with(gathered.values):
                return True
            await self._close(name)
            self._gathered[name] = gathered.values
            manifest = self.registry.describe(name).manifest
            session = Session(connector, self.registry.label(name), gathered.values, manifest)
            required = await session.ask_list("get_required_credentials", str)
            require(session.label, required, gathered, manifest)
            await session.open()
            self._sessions[name] = session
            return True

    async def disconnect(self, name: str) -> None:
        """Let the connection go; jobs on the platform go on. Does nothing when there is none."""
        if name in self._locks:
            self._stay_in_loop()
            async with self._locks.setdefault(name, asyncio.Lock()):
                await self._close(name)

    async def disconnect_all(self) -> None:
        """Let every connection go, also when one of them fails to; the first failure is raised at the end."""
        answers = await asyncio.gather(
            *(self.disconnect(name) for name in list(self._sessions)), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    def is_connected(self, name: str) -> bool:
        """True between `connect` and `disconnect`; `verify_connection` asks the platform."""
        return name in self._sessions

    def get_connector(self, name: str) -> PlatformConnector:
        """The connected instance itself. Raises `ConnectionFailed` when there is none."""
        return self._opened(name).connector

    def rents_machines(self, name: str) -> bool:
        """True when what was rented for a job of this connector stays, and costs, until `end_rental`."""
        return bool(getattr(self._opened(name).connector, "rents_machines", False))

    def connectors_with_credentials(self) -> list[str]:
        """Connectors whose required credentials are all to be found, by name; there are some that require none."""
        return [record.name for record in self.registry.list() if self._has_credentials(record.name)]

    async def verify_connection(self, name: str) -> bool:
        """True while the platform answers and knows us."""
        return bool(await self._session(name).ask("verify_connection", bool))

    def observed(self, name: str) -> Observed | None:
        """What the platform's answers have said of themselves; None when the connector does not listen."""
        return self._opened(name).observed()

    def _session(self, name: str) -> Session:
        """The session to ask, from within the event loop that it belongs to."""
        session = self._opened(name)
        self._stay_in_loop()
        return session

    def _opened(self, name: str) -> Session:
        if name not in self._sessions:
            remedy = f'first connect: manager.connect("{name}", credentials)'
            raise ConnectionFailed(f"there is no connection to {name}", remedy=remedy)
        return self._sessions[name]

    def _stay_in_loop(self) -> None:
        """Settle in the running event loop, or refuse it while there are connections of another one."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        if self._sessions or any(lock.locked() for lock in self._locks.values()):
            raise PeftStudioError(
                "this manager's connections belong to another event loop",
                remedy="make one ConnectorManager for each event loop, or a SyncConnectorManager for all threads",
            )
        self._loop, self._locks = loop, {}

    def _has_credentials(self, name: str) -> bool:
        manifest = self.registry.describe(name).manifest
        required = [field.key for field in (manifest.credentials if manifest else ()) if field.required]
        if not required:
            return False
        values = self._gather(name, None).values
        return all(values.get(key) for key in required)

    async def _close(self, name: str) -> None:
        session = self._sessions.pop(name, None)
        if session is not None:
            await session.close()

    def _gather(self, name: str, credentials: Mapping[str, str] | None) -> Gathered:
        record = self.registry.describe(name)
        given = {**self._credentials.get(name, {}), **_fields(name, credentials or {})}
        return gather(record.manifest, record.distribution, given, lambda field: self._from_vault(name, field))

    def _from_vault(self, name: str, field: str) -> tuple[str, str] | None:
        return ask_vaults(self.registry, name, field, self.hook_failures)


def _fields(name: str, given: Any) -> dict[str, Secret]:
    """A copy; what is no mapping of texts is not shown, for it may be the secret itself."""
    if not isinstance(given, Mapping):
        message = f'credentials["{name}"] must be a dictionary such as {{"api_key": ...}}, not {type(given).__name__}'
        raise InvalidConfig(message)
    for field, value in given.items():
        if not isinstance(value, str | Secret):
            raise InvalidConfig(f'credentials["{name}"]["{field}"] must be a text, not {type(value).__name__}')
    return {field: Secret(value) for field, value in given.items()}

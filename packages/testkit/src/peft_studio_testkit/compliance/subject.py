"""What is checked: a connector class, its installed distribution, and the sandbox that it is tested against."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from importlib.metadata import Distribution, distributions
from typing import Any

from peft_studio import ConnectorRegistry, PlatformConnector
from peft_studio.errors import ConnectorNotFound, PeftStudioError
from peft_studio.manifest import Manifest
from peft_studio.records import ConnectorRecord
from peft_studio.session import Session
from peft_studio.validation import features_of
from peft_studio_testkit.compliance.expect import expect
from peft_studio_testkit.compliance.imports import ImportFacts, import_facts
from peft_studio_testkit.sandbox import HttpSandbox, Sandbox

#: While checks run: a machine that is busy must not look like a dead platform, one repetition shows as much as three,
#: and no proxy of the user stands between the connector and this machine.
_ENVIRONMENT = {
    "PEFT_STUDIO_HTTP_TIMEOUT": "5",
    "PEFT_STUDIO_HTTP_RETRIES": "1",
    "NO_PROXY": "127.0.0.1,localhost",
    "no_proxy": "127.0.0.1,localhost",
}


class Subject:
    """A connector under test.

    `path` are the directories that its distribution is looked for in (default: sys.path). `level` None takes what the
    sandbox pins. The sandbox is started by whoever made it.
    """

    def __init__(
        self,
        connector: type[PlatformConnector],
        sandbox: Sandbox,
        *,
        level: int | None = None,
        path: Sequence[str] | None = None,
    ) -> None:
        self.connector = connector
        self.sandbox = sandbox
        self.path = path
        self.level = sandbox.level if level is None else level
        self.patience = sandbox.patience
        self.name = str(getattr(connector, "name", connector.__name__))
        self.features = features_of(connector)
        self.is_remote = isinstance(sandbox, HttpSandbox)

    def has(self, method: str) -> bool:
        """True when the connector has this optional method of its own."""
        own = getattr(self.connector, method, None)
        return own is not None and own is not getattr(PlatformConnector, method, None)

    # Talking to it.

    @asynccontextmanager
    async def connected(self, credentials: Mapping[str, str] | None = None) -> AsyncIterator[Session]:
        """A session, as the manager makes one, that is closed at the end."""
        session = self.session(credentials)
        await session.open()
        try:
            yield session
        finally:
            await session.close()

    def session(self, credentials: Mapping[str, str] | None = None) -> Session:
        """A session that is not open yet."""
        given = self.sandbox.credentials() if credentials is None else credentials
        return Session(self.connector, self.label, given, None if self.record is None else self.record.manifest)

    @property
    def http(self) -> HttpSandbox:
        """The sandbox of a connector that talks HTTP."""
        assert isinstance(self.sandbox, HttpSandbox)
        return self.sandbox

    @property
    def label(self) -> str:
        """How errors name it."""
        return f"{self.name} ({getattr(self.connector, 'version', '?')})"

    @property
    def secrets(self) -> list[str]:
        """What must show up nowhere."""
        credentials = self.sandbox.credentials()
        return [credentials[key] for key in self.sandbox.secret_keys if credentials.get(key)]

    @contextmanager
    def environment(self, **variables: str) -> Iterator[None]:
        """Variables of the environment while a check, or a part of one, runs."""
        before = dict(os.environ)
        os.environ.update({**_ENVIRONMENT, **variables})
        try:
            yield
        finally:
            for key in set(os.environ) - set(before):
                del os.environ[key]
            os.environ.update({key: value for key, value in before.items() if os.environ.get(key) != value})

    # What is installed.

    @cached_property
    def record(self) -> ConnectorRecord | None:
        """What the registry tells of it without an import; None when nothing of that name is installed."""
        try:
            return self.registry().describe(self.name)
        except ConnectorNotFound:
            return None

    @property
    def manifest(self) -> Manifest:
        """Its connector.json; fails where there is none that can be read."""
        expect(self.record is not None, f"no installed distribution has a connector {self.name!r}")
        assert self.record is not None
        expect(self.record.manifest is not None, "there is no connector.json that can be read")
        assert self.record.manifest is not None
        return self.record.manifest

    @cached_property
    def distribution(self) -> Distribution:
        """The installed distribution that the connector came with."""
        name = None if self.record is None else self.record.distribution
        places = list(sys.path if self.path is None else self.path)
        found = next((each for each in distributions(path=places) if each.metadata["Name"] == name), None)
        expect(found is not None, f"no installed distribution has a connector {self.name!r}")
        assert found is not None
        return found

    @cached_property
    def imported(self) -> ImportFacts:
        """What happens when its plugin module is imported, alone, in a fresh process."""
        expect(self.record is not None and self.record.entry_point, f"there is no entry point for {self.name!r}")
        assert self.record is not None
        assert self.record.entry_point is not None
        return import_facts(self.record.entry_point, self.path)

    def registry(self) -> ConnectorRegistry:
        """A registry of its own that looks where the connector is installed, whatever the user's policy."""
        from peft_studio.policy import Policy

        return ConnectorRegistry(self.path, policy=Policy())

    def problems(self) -> list[Any]:
        """What `connectors check` says."""
        try:
            return self.registry().check(self.name)
        except PeftStudioError as error:
            return [error]

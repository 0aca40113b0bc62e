"""A connector talks to the hosts that its connector.json names, and to those that the user gave it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peft_studio import BrokenConnector, ConnectionFailed, Transport
from peft_studio._declared import Declared, declared, declaring
from peft_studio.connector import PlatformConnector
from peft_studio.manifest import Credential, Manifest, Setting
from peft_studio.session import Session

MANIFEST = Manifest(
    name="acme",
    display_name="Acme",
    description="Runs jobs",
    credentials=(Credential(key="api_key"), Credential(key="server", secret=False)),
    settings=(Setting(key="base_url"),),
    hosts=("api.acme.example", "*.store.acme.example"),
)
GIVEN: dict[str, str] = {}


@pytest.mark.parametrize(
    ("url", "values"),
    [
        ("https://api.acme.example/v1", GIVEN),
        ("https://API.acme.example:8443", GIVEN),
        ("https://eu.store.acme.example", GIVEN),
        ("https://a.b.store.acme.example", GIVEN),
        ("http://gpu.lan:8000", {"base_url": "http://gpu.lan:9000/api"}),
        ("http://gpu.lan:8000", {"server": "gpu.lan:11434"}),
        ("http://127.0.0.1:5000", {"base_url": "http://localhost:6000"}),
        ("http://[::1]:5000", {"base_url": "http://127.0.0.1:6000"}),
    ],
)
def test_allowed(url: str, values: dict[str, str]) -> None:
    """Named, or given by the user in a field that is no secret; whatever the port."""
    assert Declared.of(MANIFEST, values).allows(url)


@pytest.mark.parametrize(
    ("url", "values"),
    [
        ("https://evil.example", GIVEN),
        ("https://acme.example", GIVEN),
        ("https://store.acme.example", GIVEN),
        ("https://apistore.acme.example.evil.example", GIVEN),
        ("https://evilstore.acme.example", GIVEN),
        ("http://127.0.0.1:5000", GIVEN),
        ("http://localhost:5000", {"base_url": "http://gpu.lan"}),
        ("https://secret.example", {"api_key": "https://secret.example"}),
        ("https://[bad", GIVEN),
    ],
)
def test_not_allowed(url: str, values: dict[str, str]) -> None:
    """A name that only looks like one of them, this machine unasked, an address in a secret."""
    assert not Declared.of(MANIFEST, values).allows(url)


class Acme(PlatformConnector):
    """Makes its transport when it is connected."""

    name = "acme"
    display_name = "Acme"
    description = "Runs jobs"
    version = "1.0.0"
    address = "https://evil.example"

    async def connect(self, credentials: dict[str, str]) -> bool:
        self.transport = Transport(credentials.get("base_url") or self.address)
        return True

    async def disconnect(self) -> bool:
        await self.transport.close()
        return True


async def test_connecting_elsewhere_is_refused() -> None:
    """Before anything is sent, in a sentence that names the host."""
    with pytest.raises(BrokenConnector) as refused:
        await Session(Acme, "acme 1.0.0", {"api_key": "k"}, MANIFEST).open()

    assert "the connector wants to talk to https://evil.example" in refused.value.what
    assert "its connector.json does not name that host" == refused.value.why
    assert declared() is None


async def test_a_connector_without_connector_json_is_not_limited() -> None:
    """Nobody has said where it goes."""
    session = Session(Acme, "acme 1.0.0", {"api_key": "k"})
    await session.open()
    await session.close()


async def test_a_download_is_not_redirected_elsewhere(server: Any, elsewhere: Any, tmp_path: Path) -> None:
    """Storage of the platform is named too, or the user knows nothing of it."""
    server.steps = [server.reply(302, Location=elsewhere.url.replace("127.0.0.1", "storage.example"))]
    with declaring(Declared.of(MANIFEST, {"base_url": server.url})):
        transport = Transport(server.url, retries=0)
    async with transport:
        with pytest.raises(ConnectionFailed) as refused:
            await transport.download("adapter", file=tmp_path / "adapter")

    assert "redirected to http://storage.example" in refused.value.what
    assert "its connector.json does not name that host" == refused.value.why
    assert [] == elsewhere.requests


async def test_a_download_is_redirected_to_what_is_named(server: Any, elsewhere: Any, tmp_path: Path) -> None:
    """As ever: without our headers."""
    server.steps = [server.reply(302, Location=f"{elsewhere.url}/blob")]
    elsewhere.steps = [elsewhere.reply(200, b"adapter", kind="application/octet-stream")]
    with declaring(Declared.of(MANIFEST, {"base_url": server.url})):
        transport = Transport(server.url, retries=0)
    async with transport:
        await transport.download("adapter", file=tmp_path / "adapter")

    assert b"adapter" == (tmp_path / "adapter").read_bytes()

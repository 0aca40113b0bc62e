"""ConnectorManager: the documented calls, and how connections come and go."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from peft_studio import (
    BrokenConnector,
    ConnectionFailed,
    ConnectorManager,
    ConnectorNotFound,
    ConnectorRegistry,
    InvalidCredentials,
    JobStatus,
    PeftStudioError,
    PlatformError,
    UnsupportedCapability,
    hookimpl,
)
from peft_studio.ledger import Ledger

from .tutorial import CONFIG, KEY, LABEL, MyPlatformConnector, answering, failure, having, manager_of, raising


async def test_the_documented_calls_work_as_written(site: Any) -> None:
    """An installed connector, the default manager, the user's own ledger."""
    site.add("myplatform")
    import sys

    sys.path.append(str(site.root))
    training_config = CONFIG

    manager = ConnectorManager()
    manager.discover_connectors()
    await manager.connect("myplatform", {"api_key": "your-key"})
    job_id = await manager.submit_job("myplatform", training_config)

    (job,) = Ledger().jobs()
    assert job_id == job.platform_id == f"job-of-{job.id}"
    assert (await manager.get_job_status("myplatform", job_id)) not in ["completed", "failed"]


async def test_the_tutorial_connector_is_driven() -> None:
    """Every method it has, each with the type that callers rely on."""
    async with manager_of() as manager:
        assert await manager.connect("myplatform", KEY)
        assert "job-1" == await manager.submit_job("myplatform", CONFIG)
        assert JobStatus.RUNNING is await manager.get_job_status("myplatform", "job-1")
        assert ["first", "second"] == [line async for line in manager.stream_logs("myplatform", "job-1")]
        assert b"adapter" == await manager.fetch_artifact("myplatform", "job-1")
        assert "stored /a {'b': 1}" == await manager.upload_artifact("myplatform", "/a", {"b": 1})
        assert ["a"] == [resource.id for resource in await manager.list_resources("myplatform")]
        assert "1.5" == str((await manager.get_pricing("myplatform", "a")).hourly_rate)
        assert await manager.verify_connection("myplatform")
        connector = manager.get_connector("myplatform")

    assert isinstance(connector, MyPlatformConnector)
    assert "disconnect" == connector.calls[-1]
    assert not manager.is_connected("myplatform")


async def test_what_it_does_not_have_is_refused_by_name() -> None:
    """Not with an AttributeError."""
    error = await failure(MyPlatformConnector, "cancel_job", "job-1")

    assert isinstance(error, UnsupportedCapability)
    assert f"{LABEL}: myplatform does not cancel jobs" == str(error)


async def test_the_lists_come_from_the_registry(site: Any) -> None:
    """Discovering looks again, listing does not."""
    manager = ConnectorManager(ConnectorRegistry([site.root]))
    before = manager.list_connectors()
    site.add("acme")

    assert [] == before == manager.list_connectors()
    assert ["acme"] == [record.name for record in manager.discover_connectors()]
    manager.register_connector(MyPlatformConnector)
    assert ["acme", "myplatform"] == [record.name for record in manager.get_connectors_by_feature("training")]
    assert [] == site.imported()


@pytest.mark.parametrize(
    ("method", "kind", "message"),
    [
        (answering(False), InvalidCredentials, "the platform refused the credentials"),
        (answering(None), PlatformError, "connect answered None: it must answer bool"),
        (raising(ValueError("bad key")), InvalidCredentials, "the platform refused the credentials: bad key"),
        (raising(InvalidCredentials("no")), InvalidCredentials, "no"),
        (raising(TimeoutError()), ConnectionFailed, "the platform could not be asked: TimeoutError"),
        (raising(KeyError("x")), PlatformError, "connect failed: KeyError: 'x'"),
    ],
    ids=["false", "none", "value error", "ours", "timeout", "bug"],
)
async def test_a_connection_that_failed_is_none(method: Any, kind: type[PeftStudioError], message: str) -> None:
    """The error names the connector, and the connector is let go."""
    gone: list[str] = []

    async def disconnect(self):
        gone.append("disconnected")

    manager = manager_of(having(connect=method, disconnect=disconnect))
    with pytest.raises(kind) as caught:
        await manager.connect("myplatform", KEY)

    assert f"{LABEL}: {message}" == str(caught.value)
    assert not manager.is_connected("myplatform")
    assert ["disconnected"] == gone


async def test_a_connection_that_was_cancelled_is_let_go() -> None:
    """Cancellation passes through as it is."""
    entered, gone = asyncio.Event(), []

    async def connect(self, credentials):
        entered.set()
        await asyncio.Event().wait()

    async def disconnect(self):
        gone.append("disconnected")

    manager = manager_of(having(connect=connect, disconnect=disconnect))
    task = asyncio.create_task(manager.connect("myplatform", KEY))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert ["disconnected"] == gone
    assert not manager.is_connected("myplatform")


async def test_connecting_at_the_same_time_is_done_once() -> None:
    """Ten tasks, one connection."""
    opened = []

    async def connect(self, credentials):
        opened.append(credentials)
        await asyncio.sleep(0)
        return True

    async with manager_of(having(connect=connect)) as manager:
        assert 10 * [True] == await asyncio.gather(*(manager.connect("myplatform", KEY) for _ in range(10)))

    assert [KEY] == opened


async def test_other_credentials_replace_the_connection() -> None:
    """None keeps the one there is."""
    async with manager_of(having(connect=answering(True))) as manager:
        await manager.connect("myplatform", KEY)
        first = manager.get_connector("myplatform")
        await manager.connect("myplatform")
        assert first is manager.get_connector("myplatform")
        await manager.connect("myplatform", {"api_key": "other"})
        assert first is not manager.get_connector("myplatform")

    assert isinstance(first, MyPlatformConnector)
    assert ["disconnect"] == first.calls


async def test_two_managers_share_nothing() -> None:
    """The same class, two connections."""
    async with manager_of() as one, manager_of() as two:
        await one.connect("myplatform", KEY)
        assert not two.is_connected("myplatform")
        await two.connect("myplatform", KEY)
        assert one.get_connector("myplatform") is not two.get_connector("myplatform")


async def test_without_a_connection_there_is_a_remedy() -> None:
    """For every call alike; an unknown name and a broken plugin are told when connecting."""
    manager = manager_of()
    with pytest.raises(ConnectionFailed) as caught:
        await manager.submit_job("myplatform", CONFIG)
    assert 'first connect: manager.connect("myplatform", credentials)' == caught.value.remedy

    with pytest.raises(ConnectorNotFound):
        await manager.connect("yourplatform")
    await manager.disconnect("myplatform")


async def test_a_connector_that_cannot_be_made_is_told() -> None:
    """Its constructor is third-party code as well."""

    def fail(self):
        raise OSError("no home directory")

    with pytest.raises(PlatformError) as caught:
        await manager_of(having(__init__=fail)).connect("myplatform", KEY)

    assert f"{LABEL}: __init__ failed: OSError: no home directory" == str(caught.value)


async def test_a_broken_plugin_is_told_when_connecting(site: Any) -> None:
    """The rest goes on."""
    site.add("acme", plugin="raise ValueError('no')")
    site.add("good")
    async with ConnectorManager(ConnectorRegistry([site.root]), ledger=False) as manager:
        with pytest.raises(BrokenConnector, match="raised ValueError: no"):
            await manager.connect("acme")
        assert await manager.connect("good")


async def test_a_disconnect_that_fails_still_disconnects() -> None:
    """All connections are let go; the failure is raised at the end."""
    gone = []

    async def disconnect(self):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gone.append("other")

    other = type("Other", (MyPlatformConnector,), {"name": "other", "disconnect": disconnect})
    failing = having(disconnect=raising(RuntimeError("stuck")))
    manager = ConnectorManager(ConnectorRegistry([], extra=[failing, other]), ledger=False)
    await manager.connect("myplatform", KEY)
    await manager.connect("other", KEY)
    with pytest.raises(PlatformError, match="disconnect failed: stuck"):
        await manager.disconnect_all()

    assert not manager.is_connected("myplatform")
    assert ["other"] == gone


async def test_credentials_come_from_argument_environment_and_vault(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Field by field, the strongest source wins; a vault that fails is noted and the next is asked."""
    fields = [{"key": key, "env": f"ACME_{key.upper()}"} for key in ("user", "team", "token")]
    site.add("acme", changes={"credentials": fields, "settings": [{"key": "region", "env": "ACME_REGION"}]})
    monkeypatch.setenv("ACME_USER", "from the environment")
    monkeypatch.setenv("ACME_TEAM", "from the environment")
    monkeypatch.setenv("ACME_REGION", "eu")

    class Vault:
        @hookimpl
        def peft_studio_credential(self, connector, field):
            return f"from the vault of {connector}"

    class Sealed:
        @hookimpl
        def peft_studio_credential(self):
            raise PermissionError("sealed")

    async with ConnectorManager(ConnectorRegistry([site.root]), ledger=False, plugins=[Vault(), Sealed()]) as manager:
        gathered = manager._gather("acme", {"user": "from the argument"})
        assert ["sealed"] == [str(outcome.error) for outcome in manager.hook_failures]

    assert {
        "user": "from the argument",
        "team": "from the environment",
        "token": "from the vault of acme",
        "region": "eu",
    } == {field: secret.reveal() for field, secret in gathered.values.items()}


async def test_a_missing_credential_is_told_before_connecting(site: Any) -> None:
    """With the variable that would supply it."""
    site.add(
        "acme",
        changes={"credentials": [{"key": "api_key", "env": "ACME_API_KEY"}]},
        swap={"    async def disconnect": "    def get_required_credentials(self): return ['api_key']\n"
              "    async def disconnect"},
    )  # fmt: skip
    manager = ConnectorManager(ConnectorRegistry([site.root]), ledger=False)
    with pytest.raises(InvalidCredentials) as caught:
        await manager.connect("acme")

    assert "acme (peft-studio-acme 1.0.0) needs api_key" == str(caught.value)
    assert "set ACME_API_KEY, or log in: peft-studio auth login acme" == caught.value.remedy


async def test_a_credential_that_only_the_manifest_requires(site: Any) -> None:
    """What connector.json requires is required, also of a class that does not say so."""
    credentials = [{"key": "api_key", "env": "ACME_API_KEY"}, {"key": "team", "required": False}]
    site.add("acme", changes={"credentials": credentials})
    manager = ConnectorManager(ConnectorRegistry([site.root]), ledger=False)

    with pytest.raises(InvalidCredentials, match=r"needs api_key$"):
        await manager.connect("acme")


async def test_an_installed_connector_is_held_to_its_connector_json(site: Any) -> None:
    """It connects to no host that the file does not name."""
    talkative = {
        "from pathlib import Path": "from pathlib import Path\nfrom peft_studio import Transport",
        "async def connect(self, credentials): return True": (
            "async def connect(self, credentials): Transport('https://evil.example'); return True"
        ),
    }
    site.add("acme", swap=talkative, changes={"hosts": ["api.acme.example"]})
    manager = ConnectorManager(ConnectorRegistry([site.root]))
    with pytest.raises(BrokenConnector, match=r"wants to talk to https://evil\.example"):
        await manager.connect("acme")

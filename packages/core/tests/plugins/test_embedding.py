"""A manager inside another program: its own connectors, hooks and credentials, its own event loop, no global state."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from peft_studio import (
    BrokenConnector,
    ConnectionFailed,
    ConnectorManager,
    ConnectorNotFound,
    ConnectorRegistry,
    InvalidConfig,
    Ledger,
    PeftStudioError,
    PlatformConnector,
    Problem,
    TrainingConfig,
    hookimpl,
)

from .everything import Everything
from .sources import Mine

CONFIG = TrainingConfig(base_model="model", dataset_path="data.jsonl")
GUARDED = {"credentials": [{"key": key, "env": f"ACME_{key.upper()}"} for key in ("user", "team", "token")]}
KEEPING = {"    async def connect(self, credentials): return True": "    async def connect(self, credentials):\n"
           "        self.seen = dict(credentials)\n        return True"}  # fmt: skip


# Which connectors there are.


def test_a_program_may_bring_all_its_connectors(site: Any) -> None:
    """Classes need no entry point; with discover=False there are no others."""
    site.add("acme")
    registry = ConnectorRegistry([site.root])

    alone = ConnectorManager(connectors=[Mine, Everything], discover=False)
    beside = ConnectorManager(registry, connectors=[Mine])
    assert ["everything", "mine"] == [record.name for record in alone.list_connectors()]
    assert ["everything", "mine"] == [record.name for record in alone.discover_connectors()]
    assert ["acme", "mine"] == [record.name for record in beside.list_connectors()]


def test_a_program_that_brings_all_reads_no_settings(home: Path) -> None:
    """The user's rules are about installed plugins; a file that cannot be read stops only those who look for them."""
    (home / "config").mkdir(parents=True)
    (home / "config" / "settings.toml").write_text("[plugins\n")

    assert ["mine"] == [r.name for r in ConnectorManager(connectors=[Mine], discover=False).list_connectors()]
    with pytest.raises(InvalidConfig):
        ConnectorManager(connectors=[Mine])


def test_a_class_that_is_no_connector_is_refused_at_once() -> None:
    """Not at the first call."""
    with pytest.raises(BrokenConnector, match="int is not a connector"):
        ConnectorManager(connectors=[int], discover=False)  # type: ignore[list-item]


def test_two_registries_for_one_manager_are_refused() -> None:
    """discover=False means a registry that looks nowhere; another one contradicts it."""
    with pytest.raises(InvalidConfig, match="discover=False makes a registry of its own"):
        ConnectorManager(ConnectorRegistry([]), discover=False)


async def test_two_managers_with_different_plugins_live_in_one_process(site: Any, tmp_path: Path) -> None:
    """One name, two distributions, two versions: each manager has its own, at the same time."""
    from .conftest import Site

    other = Site(tmp_path / "other")
    site.add("acme", version="1.0.0", swap={'"job-of-': '"first-'})
    other.add("acme", version="2.0.0", swap={'"job-of-': '"second-'})
    other.add("extra")
    async with (
        ConnectorManager(ConnectorRegistry([site.root]), ledger=False) as one,
        ConnectorManager(ConnectorRegistry([other.root]), ledger=False, connectors=[Mine]) as two,
    ):
        await asyncio.gather(one.connect("acme"), two.connect("acme"))
        assert ["acme"] == [record.name for record in one.list_connectors()]
        assert ["acme", "extra", "mine"] == [record.name for record in two.list_connectors()]
        assert ["first-None", "second-None"] == [await each.submit_job("acme", CONFIG) for each in (one, two)]
        with pytest.raises(ConnectorNotFound):
            await one.connect("mine")
    for name in list(sys.modules):
        if name.partition(".")[0] in other.packages:
            del sys.modules[name]


# Credentials.


async def test_credentials_may_be_given_once(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Field by field: what `connect` gets, then what the manager was made with, then the environment."""
    site.add("acme", changes=GUARDED, swap=KEEPING)
    for key in ("USER", "TEAM", "TOKEN"):
        monkeypatch.setenv(f"ACME_{key}", "from the environment")
    given = {"acme": {"user": "of the manager", "team": "of the manager"}}
    manager = ConnectorManager(ConnectorRegistry([site.root]), ledger=False, credentials=given)
    given["acme"]["user"] = "changed afterwards"

    async with manager:
        await manager.connect("acme", {"user": "of the call"})
        first: Any = manager.get_connector("acme")
        await manager.disconnect("acme")
        await manager.connect("acme")
        second: Any = manager.get_connector("acme")

    assert {"user": "of the call", "team": "of the manager", "token": "from the environment"} == first.seen
    assert {"user": "of the manager", "team": "of the manager", "token": "from the environment"} == second.seen


def test_credentials_that_are_no_dictionary_are_refused_unseen() -> None:
    """The sentence says where, and does not show what may be a secret."""
    with pytest.raises(InvalidConfig) as caught:
        ConnectorManager(discover=False, credentials={"acme": "s3cret"})  # type: ignore[dict-item]

    assert 'credentials["acme"] must be a dictionary such as {"api_key": ...}, not str' == str(caught.value)


# Hooks of the program.


async def test_a_program_has_hooks_of_its_own() -> None:
    """It lends credentials, reviews jobs and watches events; nothing of that is installed."""

    class Host:
        def __init__(self) -> None:
            self.seen: list[Any] = []

        @hookimpl
        def peft_studio_credential(self, connector, field):
            return f"{field} of {connector}" if field == "api_key" else None

        @hookimpl
        def peft_studio_review_job(self, connector, config):
            return [] if config.rank < 100 else [Problem(message=f"{connector} takes no rank above 100", field="rank")]

        @hookimpl
        def peft_studio_job_event(self, connector, event):
            self.seen.append((connector, event.sequence, event.data["message"]))

    host = Host()
    async with ConnectorManager(connectors=[Everything], discover=False, ledger=False, plugins=[host]) as manager:
        await manager.connect("everything")
        with pytest.raises(InvalidConfig, match="everything takes no rank above 100"):
            await manager.submit_job("everything", TrainingConfig(base_model="m", dataset_path="d", rank=128))
        job = await manager.submit_job("everything", CONFIG)
        assert [1, 2] == [event.sequence async for event in manager.stream_events("everything", job)]
        assert ("api_key of everything",) == manager._from_vault("everything", "api_key")[1:]

    assert [("everything", 1, "first"), ("everything", 2, "second")] == host.seen
    assert [] == list(manager.hook_failures)


# Jobs.


async def test_jobs_of_the_managers_ledger(tmp_path: Path) -> None:
    """Submitted and found again through the manager alone."""
    with Ledger(tmp_path / "ledger.sqlite3") as ledger:
        async with ConnectorManager(connectors=[Everything], discover=False, ledger=ledger) as manager:
            job = await manager.jobs.submit("everything", CONFIG)
            assert f"job-of-{job.id}" == job.platform_id == (await manager.jobs.get(job.id)).platform_id


async def test_jobs_need_a_ledger() -> None:
    """The sentence says what to give."""
    with pytest.raises(PeftStudioError, match="this manager has no ledger that keeps jobs") as caught:
        ConnectorManager(discover=False, ledger=False).jobs.list_jobs()

    assert "give it ledger=Ledger(path)" == caught.value.remedy


# Event loops.


def in_a_loop_of_its_own(function: Any) -> Any:
    """What `asyncio.run` gives for it in another thread."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append(asyncio.run(function()))
        except BaseException as error:  # noqa: BLE001 -- handed to the test
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return outcome[0]


async def test_connections_belong_to_the_loop_that_opened_them() -> None:
    """Another loop is refused in a sentence, whatever it asks; the first one goes on."""
    async with ConnectorManager(connectors=[Everything, Mine], discover=False, ledger=False) as manager:
        await manager.connect("everything")
        asks = (
            lambda: manager.search_models("everything", "x"),
            lambda: manager.connect("everything"),
            lambda: manager.connect("mine"),
            lambda: manager.disconnect("everything"),
            manager.disconnect_all,
        )
        for ask in asks:
            error = await asyncio.to_thread(in_a_loop_of_its_own, ask)
            assert isinstance(error, PeftStudioError), error
            assert not isinstance(error, ConnectionFailed)
            assert "this manager's connections belong to another event loop" == str(error)
        assert await manager.verify_connection("everything")


async def test_a_connection_that_is_being_opened_belongs_to_its_loop_too() -> None:
    """Another loop is refused before the first one is done."""
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def connect(self, credentials):
        entered.set()
        await go_on.wait()
        return True

    slow = type("Slow", (Everything,), {"connect": connect})
    async with ConnectorManager(connectors=[slow, Mine], discover=False, ledger=False) as manager:
        opening = asyncio.create_task(manager.connect("everything"))
        await entered.wait()
        error = await asyncio.to_thread(in_a_loop_of_its_own, lambda: manager.connect("mine"))
        assert "this manager's connections belong to another event loop" == str(error)
        go_on.set()
        assert await opening


def test_a_manager_without_connections_may_change_loops() -> None:
    """Made at import, used by one `asyncio.run` after the other."""
    manager = ConnectorManager(connectors=[Everything], discover=False, ledger=False)

    async def use() -> bool:
        async with manager:
            await asyncio.gather(*(manager.connect("everything") for _ in range(2)))
            return await manager.verify_connection("everything")

    assert [True, True] == [asyncio.run(use()), asyncio.run(use())]


def test_a_loop_that_ended_takes_its_connections_along() -> None:
    """A manager that was not disconnected in time says so, rather than hang."""
    manager = ConnectorManager(connectors=[Everything], discover=False, ledger=False)
    asyncio.run(manager.connect("everything"))
    with pytest.raises(PeftStudioError, match="belong to another event loop"):
        asyncio.run(manager.verify_connection("everything"))


def test_a_connection_that_failed_binds_to_no_loop() -> None:
    """The next loop may try again."""
    manager = ConnectorManager(connectors=[type("Shut", (Everything,), {"connect": _refuse})], discover=False)
    for _ in range(2):
        with pytest.raises(ConnectionFailed):
            asyncio.run(manager.connect("everything"))


async def _refuse(self: PlatformConnector, credentials: Any) -> bool:
    raise ConnectionFailed("no route")


# Global state.

USE_EVERYTHING = """
import asyncio, importlib, pkgutil, sys
from pathlib import Path
import peft_studio

for name in peft_studio.__all__:
    getattr(peft_studio, name)
skipped = ("peft_studio.cli", "peft_studio._pyinstaller")
for module in pkgutil.walk_packages(peft_studio.__path__, "peft_studio."):
    if not module.name.startswith(skipped):
        importlib.import_module(module.name)

def state():
    "Every name of every module of core, what it is bound to, and what that looks like inside."
    found = {}
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] != "peft_studio" or name.startswith(skipped):
            continue
        for key, value in vars(module).items():
            if key.startswith("__"):
                continue
            found[name, key] = (id(value), look(value))
            if isinstance(value, type) and value.__module__ == name:
                for attribute, inner in vars(value).items():
                    if attribute not in ("__doc__", "_abc_impl") and not attribute.startswith("__"):
                        found[name, key, attribute] = (id(inner), look(inner))
    return found

def look(value):
    if hasattr(value, "cache_info"):
        return value.cache_info()
    if hasattr(value, "__len__") and not isinstance(value, type):
        return repr(value)
    module = type(value).__module__
    return repr(vars(value)) if module.startswith("peft_studio") and hasattr(value, "__dict__") else None

sys.path.insert(0, sys.argv[1])
from everything import CALLS, Everything
from peft_studio import ConnectorManager, ConnectorRegistry, Ledger, TrainingConfig

async def use(manager):
    async with manager:
        manager.discover_connectors()
        await manager.connect("everything", {"api_key": "secret"})
        for method, (arguments, _) in CALLS.items():
            await getattr(manager, method)("everything", **arguments)
        job = await manager.jobs.submit("everything", TrainingConfig(base_model="m", dataset_path="d"))
        events = [event async for event in manager.jobs.follow(job.id)]
        await manager.jobs.list_jobs()
        for name in ("connect", "activate"):
            try:
                await manager.connect(name)
            except LookupError:
                pass

before = state()
asyncio.run(use(ConnectorManager(connectors=[Everything])))
asyncio.run(use(ConnectorManager(connectors=[Everything], discover=False)))
after = state()
for place in sorted({*before, *after}, key=str):
    if before.get(place) != after.get(place):
        print(place, before.get(place), "->", after.get(place))
print("looked at", len(before))
"""


def test_core_keeps_no_state_in_its_modules(tmp_path: Path) -> None:
    """Whatever two managers do, no name of a module or class of core is bound anew, and nothing it holds changes.

    The command line, a program of its own, may remember things for its one process.
    """
    done = subprocess.run(
        [sys.executable, "-c", USE_EVERYTHING, Path(__file__).parent],
        capture_output=True, text=True, check=True, env={**os.environ, "PEFT_STUDIO_HOME": str(tmp_path)},
    )  # fmt: skip
    *changes, looked_at = done.stdout.splitlines()

    assert [] == changes
    assert 500 < int(looked_at.removeprefix("looked at "))

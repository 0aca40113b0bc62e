"""Core, what it depends on, and a third party's plugin in one .pyz file: found, described, checked and used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipapp
from pathlib import Path
from typing import Any

import pytest

from .conftest import Site
from .distributions import install_core

PROGRAM = """
import asyncio, sys
from peft_studio import ConnectorManager, SyncConnectorManager, TrainingConfig

CONFIG = TrainingConfig(base_model="m", dataset_path="d")

async def use():
    async with ConnectorManager() as manager:
        print([(record.name, str(record.state)) for record in manager.list_connectors()])
        await manager.connect("acme", {"api_key": "k"})
        job = await manager.jobs.submit("acme", CONFIG)
        print([line async for line in manager.stream_logs("acme", job.platform_id)])
        print(sys.modules[type(manager.get_connector("acme")).__module__].__file__)

asyncio.run(use())
with SyncConnectorManager(credentials={"acme": {"api_key": "k"}}) as manager:
    print([job.status.value for job in manager.jobs.list_jobs()])
"""


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The command line and a program, each with everything that it needs."""
    folder = tmp_path_factory.mktemp("zipapp")
    application = folder / "application"
    install_core(application)
    site = Site(application)
    site.add("acme", changes={"credentials": [{"key": "api_key", "env": "ACME_API_KEY"}], "hosts": ["acme.example"]})
    site.add("broken", plugin="raise ImportError('no libacme')")
    site.add("plain", manifest=None)
    made = {"command": folder / "peft-studio.pyz", "program": folder / "program.pyz"}
    zipapp.create_archive(application, made["command"], main="peft_studio.cli:main", compressed=True)
    (application / "__main__.py").write_text(PROGRAM)
    zipapp.create_archive(application, made["program"])
    return made


@pytest.fixture
def run(archives: dict[str, Path], tmp_path: Path) -> Any:
    """Run an archive with the standard library and nothing else."""

    def run(archive: str, *arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-W", "error", archives[archive], *arguments],
            capture_output=True, text=True, check=False, cwd=tmp_path,
            env={**os.environ, "PEFT_STUDIO_HOME": str(tmp_path / "home")},
        )  # fmt: skip
        assert (code, "") == (done.returncode, done.stderr)
        return done.stdout

    return run


def test_plugins_are_found_and_described(run: Any) -> None:
    """Metadata and connector.json are read from the archive; nothing is imported."""
    records = {record["name"]: record for record in json.loads(run("command", "connectors", "list", "--json"))}

    assert {"acme": "described", "broken": "described", "plain": "found"} == {n: r["state"] for n, r in records.items()}
    assert ("described", ["training"], "peft-studio-acme", "1.0.0", []) == tuple(
        records["acme"][key] for key in ("state", "features", "distribution", "version", "problems")
    )
    shown = json.loads(run("command", "connectors", "show", "acme", "--json"))
    assert (["api_key"], ["acme.example"]) == (shown["credentials"], shown["hosts"])


def test_a_plugin_is_checked(run: Any) -> None:
    """A good one is imported from the archive; a broken one is told, and remembered for the next list."""
    assert [] == json.loads(run("command", "connectors", "check", "acme", "--json"))["findings"]
    broken = json.loads(run("command", "connectors", "check", "broken", "--json", code=10))
    assert "raised ImportError: no libacme" in broken["findings"][0]["message"]
    states = {r["name"]: r["state"] for r in json.loads(run("command", "connectors", "list", "--json"))}
    assert {"acme": "described", "broken": "broken", "plain": "found"} == states


def test_a_program_uses_the_manager(run: Any, archives: dict[str, Path]) -> None:
    """Async and sync, with its ledger outside the archive."""
    listed, lines, file, jobs = run("program").splitlines()

    assert "[('acme', 'described'), ('broken', 'described'), ('plain', 'found')]" == listed
    assert "['first', 'second']" == lines
    assert file.startswith(str(archives["program"]))
    assert "['running']" == jobs

"""A program frozen with PyInstaller: its connectors are found, described, activated and used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

import peft_studio._pyinstaller as hooks

from .conftest import Site
from .distributions import closure, copy, install_core

PROGRAM = """
import asyncio, sys
from peft_studio import ConnectorManager, SyncConnectorManager, TrainingConfig

def command_line():
    from peft_studio.cli import main
    main()

async def use():
    async with ConnectorManager() as manager:
        print([(record.name, str(record.state)) for record in manager.list_connectors()])
        await manager.connect("acme", {"api_key": "k"})
        job = await manager.jobs.submit("acme", TrainingConfig(base_model="m", dataset_path="d"))
        print([line async for line in manager.stream_logs("acme", job.platform_id)])

if sys.argv[1:]:
    command_line()
asyncio.run(use())
with SyncConnectorManager() as manager:
    print([job.status.value for job in manager.jobs.list_jobs()])
"""

#: Runs a hook as PyInstaller does, and prints what it collects.
RUN_HOOK = """
import json, runpy, sys
from PyInstaller.utils import hooks
found = runpy.run_path(sys.argv[1])
print(json.dumps([sorted(source for source, _ in found.get("datas", [])), sorted(found["hiddenimports"])]))
"""


@pytest.fixture
def run_hook(site: Any) -> Any:
    """What a hook collects in an environment where `site` is installed too."""

    def run(name: str) -> tuple[list[str], list[str]]:
        file = Path(hooks.get_hook_dirs()[0]) / f"hook-{name}.py"
        done = subprocess.run(
            [sys.executable, "-c", RUN_HOOK, file], capture_output=True, text=True, check=True,
            env={**os.environ, "PYTHONPATH": str(site.root)},
        )  # fmt: skip
        datas, modules = json.loads(done.stdout)
        return datas, modules

    return run


def test_plugins_are_collected_with_their_metadata_and_manifest(run_hook: Any, site: Any) -> None:
    """And core with its metadata and all that it loads by name, but without the command line."""
    acme = site.add("acme")
    datas, modules = run_hook("peft_studio")

    assert f"{acme.package}.plugin" in modules
    assert {str(acme.metadata), str(acme.folder / "connector.json")} <= set(datas)
    assert any("peft_studio-" in path for path in datas)
    assert {"peft_studio.manager", "peft_studio.sync", "peft_studio.ledger", "peft_studio.activation"} <= set(modules)
    assert [] == [name for name in modules if name.startswith(("peft_studio.cli", "peft_studio._pyinstaller"))]


def test_the_command_line_is_collected_where_it_is_used(run_hook: Any) -> None:
    """Its commands are loaded by name."""
    _, modules = run_hook("peft_studio.cli")

    assert {"peft_studio.cli.run", "peft_studio.cli.jobs", "peft_studio.cli.connectors"} <= set(modules)


def test_sandboxes_are_collected_where_the_testkit_is_used(run_hook: Any, site: Any) -> None:
    """Another group of entry points, collected in the same way."""
    acme = site.add("acme")
    (acme.metadata / "entry_points.txt").write_text(
        f"[peft_studio.sandboxes]\nacme = {acme.package}.sandbox:AcmeSandbox\n"
    )
    datas, modules = run_hook("peft_studio_testkit")

    assert f"{acme.package}.sandbox" in modules
    assert str(acme.folder / "connector.json") in datas


@pytest.mark.parametrize("value", ["gone_for_good.plugin", "a_single_module"])
def test_a_plugin_without_a_package_stops_no_build(run_hook: Any, site: Any, value: str) -> None:
    """Metadata that lead nowhere are taken along: the program will say what is broken. One module has no data."""
    acme = site.add("acme", value=value)
    (site.root / "a_single_module.py").write_text("")
    datas, modules = run_hook("peft_studio")

    assert str(acme.metadata) in datas
    assert value in modules


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A one-folder program, built in an environment that has core, two plugins and PyInstaller."""
    folder = tmp_path_factory.mktemp("frozen")
    venv.EnvBuilder(symlinks=os.name != "nt").create(folder / "venv")
    site = next((folder / "venv").rglob("site-packages"))
    install_core(site)
    for name in closure(["pyinstaller"]):
        copy(name, site)
    Site(site).add("acme", changes={"hosts": ["acme.example"]})
    Site(site).add("broken", plugin="raise ImportError('no libacme')")
    (folder / "program.py").write_text(PROGRAM)
    python = next(path for path in (folder / "venv").glob("*/python*") if path.stem == "python")
    built = subprocess.run(
        [python, "-m", "PyInstaller", "--onedir", "--noconfirm", "program.py"],
        capture_output=True, text=True, check=False, cwd=folder,
        env={**os.environ, "PYINSTALLER_CONFIG_DIR": str(folder / "cache")},
    )  # fmt: skip
    assert 0 == built.returncode, built.stderr
    return folder / "dist" / "program" / "program"


@pytest.mark.slow
def test_a_frozen_program(program: Path, tmp_path: Path) -> None:
    """It lists and describes what was collected, runs a job on it, and has the command line on board."""

    def run(*arguments: str, code: int = 0) -> str:
        done = subprocess.run(
            [program, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "PEFT_STUDIO_HOME": str(tmp_path / "home")},
        )  # fmt: skip
        assert (code, "") == (done.returncode, done.stderr)
        return done.stdout

    listed, lines, jobs = run().splitlines()
    assert "[('acme', 'described'), ('broken', 'described')]" == listed
    assert "['first', 'second']" == lines
    assert "['running']" == jobs

    described = json.loads(run("connectors", "show", "acme", "--json"))
    assert ("described", "peft-studio-acme", ["acme.example"], []) == tuple(
        described[key] for key in ("state", "distribution", "hosts", "problems")
    )
    assert [] == json.loads(run("connectors", "check", "acme", "--json"))["findings"]
    broken = json.loads(run("connectors", "check", "broken", "--json", code=10))
    assert "raised ImportError: no libacme" in broken["findings"][0]["message"]
    assert ["running"] == [job["status"] for job in json.loads(run("jobs", "list", "--json"))]

"""A site directory with real distributions in it, written on the spot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

PLUGIN = """
from peft_studio import hookimpl

@hookimpl
def peft_studio_connector():
    from PACKAGE.connector import Connector
    return Connector
"""

CONNECTOR = """
from pathlib import Path

from peft_studio import JobStatus, PricingInfo, Resource, TrainingConnector

class Connector(TrainingConnector):
    name = "NAME"
    display_name = "The NAME platform"
    description = "Runs jobs"
    version = "1.0.0"

    async def connect(self, credentials): return True
    async def disconnect(self): pass
    async def submit_job(self, config): return f"job-of-{config.tag}"
    async def get_job_status(self, job_id): return JobStatus.RUNNING
    async def cancel_job(self, job_id): return True
    async def stream_logs(self, job_id):
        yield "first"
        yield "second"
    async def download_artifact(self, job_id, destination): return Path(destination)
    async def list_resources(self): return [Resource(id="a", name="A")]
    async def get_pricing(self, resource_id): return PricingInfo(hourly_rate="0.5")
"""


def manifest_of(name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """A connector.json that agrees with `CONNECTOR`, but for the changes."""
    return {
        "name": name,
        "display_name": f"The {name} platform",
        "description": "Runs jobs",
        "features": {"training": True},
        **changes,
    }


@frozen
class Installed:
    """One distribution in the site directory."""

    name: str
    distribution: str
    package: str
    folder: Path
    metadata: Path


_numbers = count(1)


class Site:
    """A directory such as site-packages. Each package name is used once per process, so that imports never mix."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.packages: list[str] = []

    def add(
        self,
        name: str = "acme",
        *,
        distribution: str | None = None,
        version: str = "1.0.0",
        requires: Sequence[str] = ("peft-studio>=0.1,<1",),
        value: str | None = None,
        plugin: str = PLUGIN,
        connector: str = CONNECTOR,
        swap: Mapping[str, str] | None = None,
        init: str = "",
        manifest: Mapping[str, Any] | bytes | str | None = "agrees",
        changes: Mapping[str, Any] | None = None,
    ) -> Installed:
        """Install a plugin that works, but for what is asked for.

        `swap` changes lines of the connector, `changes` keys of the connector.json that would agree with it. PACKAGE
        and NAME are filled in everywhere.
        """
        package = f"plugin_{next(_numbers)}_{name.replace('-', '_')}"
        self.packages.append(package)
        distribution = distribution or f"peft-studio-{name}"
        folder = self.root / package
        folder.mkdir(parents=True)
        for old, new in (swap or {}).items():
            assert old in connector
            connector = connector.replace(old, new)
        sources = {"__init__.py": init, "plugin.py": plugin, "connector.py": connector}
        for file, source in sources.items():
            text = source.replace("PACKAGE", package).replace("NAME", name)
            (folder / file).write_text(text, encoding="utf-8")
        if manifest == "agrees":
            manifest = manifest_of(name, changes or {})
        if manifest is not None:
            data = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
            (folder / "connector.json").write_bytes(data)
        entry = f"{name} = {f'{package}.plugin' if value is None else value.replace('PACKAGE', package)}"
        metadata = self.write_metadata(distribution, version, requires, entry)
        return Installed(name, distribution, package, folder, metadata)

    def write_metadata(
        self, distribution: str, version: str, requires: Sequence[str], entry: str, suffix: str = "dist-info"
    ) -> Path:
        """The metadata folder of a distribution, as an installer leaves it."""
        folder = self.root / f"{distribution.replace('-', '_')}-{version}.{suffix}"
        folder.mkdir(parents=True)
        lines = ["Metadata-Version: 2.4", f"Name: {distribution}", f"Version: {version}"]
        lines += [f"Requires-Dist: {line}" for line in requires]
        file = "METADATA" if suffix == "dist-info" else "PKG-INFO"
        (folder / file).write_text("\n".join(lines) + "\n", encoding="utf-8")
        entries = f"[console_scripts]\nsome-tool = some.tool:main\n\n[peft_studio.connectors]\n{entry}\n"
        (folder / "entry_points.txt").write_text(entries, encoding="utf-8")
        return folder

    def imported(self) -> list[str]:
        """Packages of this site that have been imported."""
        return [package for package in self.packages if package in sys.modules]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user who has nothing yet and whose environment says nothing about plugins."""
    folder = tmp_path / "home"
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(folder))
    monkeypatch.delenv("PEFT_STUDIO_PLUGINS", raising=False)
    monkeypatch.delenv("PEFT_STUDIO_PLUGINS_DENY", raising=False)
    return folder


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An empty site directory; whatever was imported from it is forgotten afterwards."""
    site = Site(tmp_path / "site")
    path = list(sys.path)
    yield site
    sys.path[:] = path
    for name in list(sys.modules):
        if name.partition(".")[0] in site.packages:
            del sys.modules[name]


@pytest.fixture
def studio(site: Site, home: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command line, with what is in the site directory installed."""

    def run(*arguments: str | Path, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "peft_studio.cli", *map(str, arguments)],
            capture_output=True, text=True, check=False, cwd=home.parent, stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(site.root), "COLUMNS": "120", **environment},
        )  # fmt: skip
        assert code == done.returncode, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run

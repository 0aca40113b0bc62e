"""The reference connector in this process, and a fresh environment to install a rendering into."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import PathDistribution, distribution
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from attrs import frozen
from packaging.requirements import Requirement

from peft_studio.records import FEATURES
from peft_studio_testkit.scaffold import render

ROOT = Path(__file__).parents[4]
NAME = "reference-in-tests"


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Class, api module and sandbox class of a rendering with all features."""
    project = tmp_path_factory.mktemp("reference") / "project"
    render(NAME, project, features=FEATURES, display_name="Reference Cloud")
    sys.path.insert(0, str(project / "src"))
    try:
        modules = {part: importlib.import_module(f"peft_studio_reference_in_tests.{part}") for part in PARTS}
        yield SimpleNamespace(
            connector=modules["connector"].ReferenceInTestsConnector,
            sandbox=modules["sandbox"].ReferenceInTestsSandbox,
            api=modules["api"],
        )
    finally:
        sys.path.remove(str(project / "src"))


PARTS = ("api", "connector", "sandbox")


@pytest.fixture(scope="session")
def running_sandbox(reference: Any) -> Iterator[Any]:
    """The fake platform, started once."""
    with reference.sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: Any) -> Any:
    """The fake platform, fresh."""
    running_sandbox.reset()
    return running_sandbox


@pytest.fixture
async def connector(reference: Any, sandbox: Any) -> Any:
    """The connector, connected to the fake platform."""
    connector = reference.connector()
    await connector.connect(sandbox.credentials())
    yield connector
    await connector.disconnect()


@frozen
class Environment:
    """A virtual environment that holds what was installed into it, what that requires, and nothing else."""

    folder: Path

    @property
    def python(self) -> str:
        """Its interpreter."""
        return str(self.folder / "bin" / "python")

    @property
    def site(self) -> Path:
        """Where its packages are."""
        return next(self.folder.glob("lib/*/site-packages"))

    def run(self, *arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run its Python, in an empty home, to a good end."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PEFT_STUDIO_", "PYTHON"))}
        done = subprocess.run(
            [self.python, *arguments], capture_output=True, text=True, check=False, cwd=cwd or self.folder,
            env={**kept, "PEFT_STUDIO_HOME": str(self.folder / "home"), "COLUMNS": "120"},
        )  # fmt: skip
        assert 0 == done.returncode, f"{done.stdout}\n{done.stderr}"
        return done

    def install(self, wheel: Path, *extras: str) -> None:
        """Unpack a wheel as an installer does, and copy what it requires from the environment of the tests."""
        name = wheel.name.partition("-")[0]
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.site)
        metadata = next(self.site.glob(f"{name}-*.dist-info"))
        self._copy_required(PathDistribution(metadata).requires or [], set(extras))

    def copy(self, name: str, extras: frozenset[str] = frozenset()) -> None:
        """Copy a distribution that the tests have, with what it requires."""
        found = distribution(name)
        if not any(self.site.glob(f"{name.replace('-', '_')}-*.dist-info")):
            for path in found.files or ():
                if ".." not in path.parts and "__pycache__" not in path.parts:
                    target = self.site / path
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(str(path.locate()), target)
        self._copy_required(found.requires or [], set(extras))

    def _copy_required(self, requirements: list[str], extras: set[str]) -> None:
        for requirement in map(Requirement, requirements):
            is_ours = requirement.name.startswith("peft-studio")
            applies = requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in extras | {""}
            )
            if applies and not is_ours:
                self.copy(requirement.name, frozenset(requirement.extras))


@pytest.fixture(scope="session")
def build_wheel(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Builds the wheel of a project."""

    def build(project: Path) -> Path:
        folder = tmp_path_factory.mktemp("dist")
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
        subprocess.run(command, check=True, capture_output=True, cwd=project)
        return next(folder.glob("*.whl"))

    return build


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory, build_wheel: Any) -> Environment:
    """A fresh environment with core and testkit from their wheels, and pytest."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    fresh = Environment(folder)
    fresh.install(build_wheel(ROOT / "packages" / "core"), "http")
    fresh.install(build_wheel(ROOT / "packages" / "testkit"))
    fresh.copy("pytest")
    return fresh

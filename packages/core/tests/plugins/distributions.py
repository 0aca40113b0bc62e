"""Core and what it depends on, as an installer lays them out: for programs that are packed into one file or folder."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

CORE = Path(__file__).parents[2]


def install_core(site: Path) -> None:
    """Core's wheel, built now, and its dependencies, copied from this environment."""
    wheels = site.parent / "wheels"
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", wheels],
        check=True, capture_output=True, cwd=CORE,
    )  # fmt: skip
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
        (requirements,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        wanted = metadata.PathDistribution(zipfile.Path(archive, requirements).parent).requires or []
    for name in closure(wanted):
        copy(name, site)


def closure(requirements: list[str]) -> set[str]:
    """Names of the distributions that are needed, without extras."""
    found: set[str] = set()
    waiting = list(requirements)
    while waiting:
        requirement = Requirement(waiting.pop())
        is_needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if is_needed and requirement.name not in found:
            found.add(requirement.name)
            waiting += metadata.requires(requirement.name) or []
    return found


def copy(name: str, site: Path) -> None:
    """An installed distribution with its metadata, but without what was compiled."""
    for source, path in _files(name):
        target = site / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())


def _files(name: str) -> Iterator[tuple[Path, str]]:
    for path in metadata.files(name) or []:
        is_inside = ".." not in path.parts and "__pycache__" not in path.parts
        if is_inside and path.suffix not in (".so", ".pyd"):
            yield Path(str(path.locate())), str(path)

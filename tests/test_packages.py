"""All distributions are alike: what one promises in its pyproject.toml, each does."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import peft_studio

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))
CONNECTORS = [package for package in PACKAGES if package.name.startswith("connector-")]
#: A sandbox may be there before its connector is.
READY = [package for package in CONNECTORS if list(package.glob("src/*/connector.json"))]

each_package = pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
each_connector = pytest.mark.parametrize("package", CONNECTORS, ids=lambda path: path.name)


def declared(package: Path) -> dict[str, Any]:
    """The whole pyproject.toml."""
    return tomllib.loads((package / "pyproject.toml").read_text(encoding="utf-8"))


def module_folder(package: Path) -> Path:
    """The one folder under src/."""
    (folder,) = (path for path in (package / "src").iterdir() if (path / "__init__.py").exists())
    return folder


def requirements(package: Path) -> list[str]:
    """All that the distribution asks for, extras included."""
    project = declared(package)["project"]
    return [
        *project["dependencies"],
        *(r for extra in project.get("optional-dependencies", {}).values() for r in extra),
    ]


@each_package
def test_folder_distribution_and_module_have_one_name(package: Path) -> None:
    """`packages/connector-x` is `peft-studio-x` and imports as `peft_studio_x`."""
    folder = package.name.removeprefix("connector-")
    expected = "peft-studio" if folder == "core" else f"peft-studio-{folder}"

    assert expected == declared(package)["project"]["name"]
    assert expected.replace("-", "_") == module_folder(package).name


@each_package
def test_metadata_are_alike(package: Path) -> None:
    """Licence, Python, readme and the classifiers do not differ."""
    project, model = declared(package)["project"], declared(ROOT / "packages/core")["project"]

    for field in ("license", "requires-python", "readme", "classifiers"):
        assert model[field] == project[field], field
    assert project["description"]
    assert "peft" in project["keywords"]
    assert (package / "README.md").read_text(encoding="utf-8").startswith(f"# {project['name']}\n")


@each_package
def test_hatchling_builds_and_reads_the_version(package: Path) -> None:
    """The version is written once, in `__init__.py`."""
    settings = declared(package)
    init = module_folder(package) / "__init__.py"

    assert settings["build-system"]["build-backend"] == "hatchling.build"
    assert ["version"] == settings["project"]["dynamic"]
    assert str(init.relative_to(package)) == settings["tool"]["hatch"]["version"]["path"]
    assert re.search(r'^__version__ = "\d+\.\d+\.\d+"$', init.read_text(encoding="utf-8"), re.MULTILINE)


@each_package
def test_wheel_brings_types_and_licence(package: Path) -> None:
    """Type checkers believe a package only with py.typed; the licence must travel with every copy."""
    assert (module_folder(package) / "py.typed").exists()
    assert (ROOT / "LICENSE").read_bytes() == (package / "LICENSE").read_bytes()


@each_package
def test_nothing_is_pinned(package: Path) -> None:
    """A library that pins breaks its neighbours; bounds are enough."""
    assert [] == [requirement for requirement in requirements(package) if "==" in requirement or "@" in requirement]


@each_package
def test_siblings_are_bounded_by_the_next_major_version(package: Path) -> None:
    """`peft-studio*>=X,<X+1`: a core that breaks the interface is never mixed in."""
    ours = [requirement for requirement in requirements(package) if requirement.startswith("peft-studio")]

    for requirement in ours:
        match = re.search(r">=(\d+)[\d.]*,<(\d+)$", requirement)
        assert match, requirement
        assert int(match[1]) + 1 == int(match[2]), requirement
    assert package.name == "core" or any(re.match(r"peft-studio[\[>]", requirement) for requirement in ours)


@pytest.mark.parametrize("package", READY, ids=lambda path: path.name)
def test_entry_point_and_manifest_agree(package: Path) -> None:
    """The name in the entry point is the connector's name everywhere."""
    project = declared(package)["project"]
    ((name, target),) = project["entry-points"]["peft_studio.connectors"].items()
    manifest = json.loads((module_folder(package) / "connector.json").read_text(encoding="utf-8"))

    assert name == manifest["name"] == package.name.removeprefix("connector-")
    assert f"{module_folder(package).name}.plugin" == target
    assert "peft-studio-connector" in project["keywords"]


@each_connector
def test_connectors_do_not_know_each_other(package: Path) -> None:
    """Any connector can be removed without another noticing."""
    others = [declared(other)["project"]["name"] for other in CONNECTORS if other != package]
    modules = tuple(other.replace("-", "_") for other in others)

    assert [] == [requirement for requirement in requirements(package) if requirement.startswith(tuple(others))]
    assert [] == [name for name in imports(package) if name.split(".")[0] in modules]


@pytest.mark.parametrize("package", [p for p in PACKAGES if p.name != "core"], ids=lambda path: path.name)
def test_what_core_keeps_private_stays_in_core(package: Path) -> None:
    """Third parties cannot do what our own packages could not."""
    found = [name for name in imports(package) if name.startswith("peft_studio._")]
    assert [] == [name for name in found if name != "peft_studio.__version__"]


def test_public_names_are_those_that_load() -> None:
    """What type checkers see in `__all__` is what `import peft_studio` delivers."""
    assert sorted(["__version__", *peft_studio._HOME]) == sorted(peft_studio.__all__)


def imports(package: Path) -> Iterator[str]:
    """Every `a.b.c` that a module of the package imports, wherever in the file."""
    for path in (package / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)

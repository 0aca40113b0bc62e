"""The reference connector, which is what the scaffolder writes with all features: built, installed, and spoilt on demand."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from hatchling import build

from peft_studio.records import FEATURES
from peft_studio_testkit.compliance import Subject
from peft_studio_testkit.scaffold.render import render

#: file -> (text that is there once, text in its place)
Edits = Mapping[str, tuple[str, str]]


def install(folder: Path, name: str, edits: Edits | None = None, features: Sequence[str] = FEATURES) -> Path:
    """Render the connector `name`, edit it, build its wheel, and unpack that into a directory for sys.path."""
    project = folder / f"{name}-project"
    render(name, project, features=features)
    package = f"peft_studio_{name}"
    for file, (old, new) in (edits or {}).items():
        path = project / (file if file == "pyproject.toml" else f"src/{package}/{file}")
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{file} has {text.count(old)} times: {old}"
        path.write_text(text.replace(old, new), encoding="utf-8")
    (project / "README.md").touch()
    with contextlib.chdir(project), open(os.devnull, "w", encoding="utf-8") as nowhere:
        with contextlib.redirect_stdout(nowhere):
            wheel = build.build_wheel(str(folder))
    site = folder / f"{name}-site"
    with zipfile.ZipFile(folder / wheel) as archive:
        archive.extractall(site)
    return site


@contextlib.contextmanager
def subject(site: Path, name: str) -> Iterator[Subject]:
    """The installed connector with its sandbox, ready for checks."""
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()
    try:
        prefix = name.title()
        connector = getattr(importlib.import_module(f"peft_studio_{name}.connector"), f"{prefix}Connector")
        sandbox = getattr(importlib.import_module(f"peft_studio_{name}.sandbox"), f"{prefix}Sandbox")()
        with sandbox:
            yield Subject(connector, sandbox, path=[str(site)])
    finally:
        sys.path.remove(str(site))

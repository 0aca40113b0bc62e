"""Editable installs that have fallen behind their project: metadata stay as they were when pip wrote them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from peft_studio import manifest
from peft_studio._metadata import Installed
from peft_studio._origins import project_folder
from peft_studio.discovery import GROUP, locate
from peft_studio.records import Plugin

#: How hatchling finds a version in a file unless told otherwise.
_VERSION = re.compile(r"^(?:__version__|VERSION)(?:\s*:\s*str)?\s*=\s*['\"]v?(.+?)['\"]", re.MULTILINE)


def differences(installed: Installed, plugins: list[Plugin], path: list[str] | None = None) -> Iterator[str]:
    """What the project of an editable install says now and its metadata do not. Raises ValueError."""
    folder = project_folder(installed)
    if folder is None:
        return
    file = folder / "pyproject.toml"
    if not folder.is_dir():
        yield f"its project {folder} is gone"
    if not file.is_file():
        return
    try:
        project = tomllib.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    yield from _entry_points(installed, project)
    yield from _version(installed, project, folder)
    for plugin in plugins:
        yield from _manifest(plugin, folder, path)


def _entry_points(installed: Installed, project: dict[str, Any]) -> Iterator[str]:
    declared = _declared(project)
    if declared is None:
        return
    now = {name: value for group, name, value in installed.entry_points if group == GROUP}
    for name in sorted({*declared, *now}):
        if declared.get(name) != now.get(name):
            before, after = now.get(name, "nothing"), declared.get(name, "nothing")
            yield f"its entry point {name} is {before}, and pyproject.toml has {after}"


def _declared(project: dict[str, Any]) -> dict[str, str] | None:
    """The entry points in pyproject.toml; None where another file decides."""
    table = project.get("project")
    if table is None:
        poetry = project.get("tool", {}).get("poetry")
        return None if poetry is None else dict(poetry.get("plugins", {}).get(GROUP, {}))
    if "entry-points" in table.get("dynamic", ()):
        return None
    return dict(table.get("entry-points", {}).get(GROUP, {}))


def _version(installed: Installed, project: dict[str, Any], folder: Path) -> Iterator[str]:
    from packaging.version import InvalidVersion, Version

    now = project.get("project", {}).get("version") or _hatch_version(project, folder)
    if now is None:
        return
    try:
        is_same = Version(now) == Version(installed.version)
    except InvalidVersion:
        is_same = now == installed.version
    if not is_same:
        yield f"its version is {installed.version}, and the project's is {now}"


def _hatch_version(project: dict[str, Any], folder: Path) -> str | None:
    settings = project.get("tool", {}).get("hatch", {}).get("version", {})
    if "path" not in settings or "pattern" in settings or not (folder / settings["path"]).is_file():
        return None
    found = _VERSION.search((folder / settings["path"]).read_text(encoding="utf-8"))
    return None if found is None else found[1]


def _manifest(plugin: Plugin, folder: Path, path: list[str] | None) -> Iterator[str]:
    """The file that is read at run time must be the project's own: some editable installs are copies or lists."""
    ours = [folder / part / plugin.package / manifest.FILE_NAME for part in ("src", ".")]
    written = next((file.read_bytes() for file in ours if file.is_file()), None)
    if written is None:
        return
    try:
        is_same = written == manifest.read(locate(plugin, path))
    except OSError:
        is_same = False
    if not is_same:
        yield f"its {manifest.FILE_NAME} is not the project's"

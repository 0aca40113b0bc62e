"""Which plugins failed last time, so that a list can show it without importing them again.

A small JSON file in the state directory. Each failure is kept with a fingerprint of what it depended on: the version
of core, the plugin's files, and the directory that it is installed in. Once any of these changes, it is forgotten.
The file is worth nothing by itself: one that cannot be read or written is reported to the log and done without.
"""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, TypeGuard

from peft_studio import __version__
from peft_studio._state_file import StateFile
from peft_studio.records import Broken, Plugin, Stage

FILE_NAME = "plugin-failures.json"


class FailureMemory:
    """The failures of one state directory."""

    def __init__(self) -> None:
        self._file = StateFile(FILE_NAME, loss="failures of plugins are not kept from one run to the next")

    def recall(self, plugin: Plugin, package: ModuleSpec | None) -> Broken | None:
        """The failure of this very plugin, unless something that it depended on has changed since."""
        entry = self._file.read().get(_key(plugin))
        if not _is_entry(entry) or entry["fingerprint"] != _fingerprint(plugin, package):
            return None
        return Broken(plugin=plugin, stage=Stage(entry["stage"]), problem=entry["problem"], remedy=entry["remedy"])

    def remember(self, broken: Broken, package: ModuleSpec | None) -> None:
        """Keep a failure for the next process."""
        entry = {
            "stage": str(broken.stage),
            "problem": broken.problem,
            "remedy": broken.remedy,
            "fingerprint": _fingerprint(broken.plugin, package),
        }
        self._file.write({**self._file.read(), _key(broken.plugin): entry})

    def forget(self, plugin: Plugin) -> None:
        """The plugin works: whatever was kept about it is over."""
        kept = {key: entry for key, entry in self._file.read().items() if key != _key(plugin)}
        if kept != self._file.read():
            self._file.write(kept)

    def refresh(self) -> None:
        """Read the file again at the next question."""
        self._file.refresh()


def _key(plugin: Plugin) -> str:
    return f"{plugin.distribution} {plugin.version} {plugin.value}"


def _is_entry(entry: Any) -> TypeGuard[dict[str, Any]]:
    texts = isinstance(entry, dict) and all(
        isinstance(entry.get(key), str) for key in ("stage", "problem", "fingerprint")
    )
    return texts and entry["stage"] in set(Stage) and isinstance(entry.get("remedy"), str | None)


def _fingerprint(plugin: Plugin, package: ModuleSpec | None) -> str:
    folders = [Path(folder) for folder in (package and package.submodule_search_locations) or ()]
    files = [file for folder in folders for file in folder.rglob("*") if file.suffix in (".py", ".json")]
    if package is not None and package.origin and not folders:
        files = [Path(package.origin)]
    newest = max((_changed(file) for file in files), default=0)
    installed = 0 if plugin.location is None else _changed(plugin.location)
    return f"{__version__} {len(files)} {newest} {installed}"


def _changed(path: Path) -> int:
    """Time of the last change in nanoseconds; 0 for what is not a file, such as a member of a zip archive."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0

"""Which plugins failed last time, so that a list can show it without importing them again.

A small JSON file in the state directory. Each failure is kept with a fingerprint of what it depended on: the version
of core, the plugin's files, and the directory that it is installed in. Once any of these changes, it is forgotten.
The file is worth nothing by itself: one that cannot be read or written is reported to the log and done without.
"""

from __future__ import annotations

import json
import logging
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from peft_studio import __version__, paths
from peft_studio.records import Broken, Plugin, Stage

FILE_NAME = "plugin-failures.json"

_log = logging.getLogger(__name__)


class FailureMemory:
    """The failures of one state directory."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file or paths.state_dir() / FILE_NAME
        self._entries: dict[str, dict[str, Any]] | None = None

    def recall(self, plugin: Plugin, package: ModuleSpec | None) -> Broken | None:
        """The failure of this very plugin, unless something that it depended on has changed since."""
        entry = self._read().get(_key(plugin))
        if entry is None or entry["fingerprint"] != _fingerprint(plugin, package):
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
        self._write({**self._read(), _key(broken.plugin): entry})

    def forget(self, plugin: Plugin) -> None:
        """The plugin works: whatever was kept about it is over."""
        if _key(plugin) in self._read():
            self._write({key: entry for key, entry in self._read().items() if key != _key(plugin)})

    def refresh(self) -> None:
        """Read the file again at the next question."""
        self._entries = None

    def _read(self) -> dict[str, dict[str, Any]]:
        if self._entries is None:
            self._entries = self._load()
        return self._entries

    def _load(self) -> dict[str, dict[str, Any]]:
        try:
            entries = json.loads(self._file.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            _log.warning("%s cannot be read (%s); failures of plugins in earlier runs are not shown", self._file, error)
            return {}
        return {key: entry for key, entry in entries.items() if _is_entry(entry)} if isinstance(entries, dict) else {}

    def _write(self, entries: dict[str, dict[str, Any]]) -> None:
        import tempfile  # here: a list, which only reads, does without its imports

        self._entries = entries
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self._file.parent, delete=False, encoding="utf-8") as draft:
                json.dump(entries, draft, indent=1)
            Path(draft.name).replace(self._file)
        except OSError as error:
            _log.warning("%s cannot be written (%s); the next run will not show this failure", self._file, error)


def _key(plugin: Plugin) -> str:
    return f"{plugin.distribution} {plugin.version} {plugin.value}"


def _is_entry(entry: Any) -> bool:
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

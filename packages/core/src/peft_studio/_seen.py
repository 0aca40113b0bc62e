"""Which plugins an environment had, so that one that is gone can be named.

An upgrade of an isolated tool may leave its plugins behind, and nobody notices until a job needs one. A list adds what
is new to a small file in the state directory, which costs it one read; only the user takes a plugin off.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attrs import frozen

from peft_studio._metadata import normalized
from peft_studio._state_file import StateFile
from peft_studio.records import Plugin

FILE_NAME = "plugins-seen.json"


@frozen
class Seen:
    """A distribution that delivered connectors here, and is not installed any more."""

    distribution: str
    version: str
    connectors: tuple[str, ...]


class SeenPlugins:
    """The plugins of one environment (default: the one that runs)."""

    def __init__(self, environment: str = sys.prefix) -> None:
        self._environment = environment
        self._file = StateFile(FILE_NAME, loss="a plugin that vanishes will not be noticed")

    def remember(self, plugins: Iterable[Plugin]) -> None:
        """Add what is installed now; writes only if something is new."""
        now = _described(plugins)
        known = self._known()
        if now.items() <= known.items():
            return
        others = {folder: seen for folder, seen in self._file.read().items() if Path(folder).is_dir()}
        self._file.write({**others, self._environment: {**known, **now}})

    def vanished(self, plugins: Iterable[Plugin]) -> list[Seen]:
        """What was there at some time, and is not among `plugins`."""
        now = _described(plugins)
        gone = [entry for key, entry in self._known().items() if key not in now]
        return [Seen(entry["distribution"], entry["version"], tuple(entry["connectors"])) for entry in gone]

    def forget(self, plugins: Iterable[Plugin]) -> None:
        """Take off whatever is not among `plugins`: the user knows that it is gone."""
        self._file.write({**self._file.read(), self._environment: _described(plugins)})

    def _known(self) -> dict[str, dict[str, Any]]:
        known = self._file.read().get(self._environment, {})
        return {key: entry for key, entry in known.items() if _is_entry(entry)} if isinstance(known, dict) else {}


def _described(plugins: Iterable[Plugin]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for plugin in plugins:
        entry = {"distribution": plugin.distribution, "version": plugin.version, "connectors": []}
        found.setdefault(normalized(plugin.distribution), entry)["connectors"].append(plugin.name)
    return found


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and all(isinstance(entry.get(key), str) for key in ("distribution", "version"))
        and isinstance(entry.get("connectors"), list)
        and all(isinstance(name, str) for name in entry["connectors"])
    )

"""Where things are kept on this machine: four directories, decided here alone.

`PEFT_STUDIO_HOME` puts all four under one directory, for tests, containers and tools that embed the core. The
environment is read at each call, so that such a tool can set it after the import. Nothing is created here; whoever
writes a file makes its directory.
"""

from __future__ import annotations

import os
from pathlib import Path

HOME_VARIABLE = "PEFT_STUDIO_HOME"
CACHE_VARIABLE = "PEFT_STUDIO_CACHE"


def data_dir() -> Path:
    """What the user would miss: the ledger, job folders, adapters."""
    return _directory("data")


def queue_file() -> Path:
    """What waits for a platform; not there as long as nothing ever had to. Here, so that asking costs no import."""
    return data_dir() / "queue.sqlite3"


def state_dir() -> Path:
    """What is remembered between two commands and may be lost: which plugins failed, locks, logs."""
    return _directory("state")


def config_dir() -> Path:
    """What the user writes: settings.toml."""
    return _directory("config")


def cache_dir() -> Path:
    """What can be made again, converted models above all; `PEFT_STUDIO_CACHE` lets many homes share one."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen).expanduser().absolute() if chosen else _directory("cache")


def _directory(kind: str) -> Path:
    home = os.environ.get(HOME_VARIABLE)
    if home:
        return Path(home).expanduser().absolute() / kind
    from platformdirs import PlatformDirs

    directory: Path = getattr(PlatformDirs("peft-studio", appauthor=False), f"user_{kind}_path")
    return directory

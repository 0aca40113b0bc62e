"""A synchronous manager over `Everything`, and programs of their own that use one."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from peft_studio import PlatformConnector, SyncConnectorManager

from .everything import Everything


def manager_of(*connectors: type[PlatformConnector], **options: Any) -> SyncConnectorManager:
    """A manager that knows these connectors and nothing else."""
    return SyncConnectorManager(connectors=connectors, discover=False, **{"ledger": False, **options})


def having(**members: Any) -> type[PlatformConnector]:
    """`Everything` with members replaced."""
    return type("Changed", (Everything,), members)


def loop_threads() -> list[threading.Thread]:
    """Threads of facades that are still there."""
    return [thread for thread in threading.enumerate() if thread.name == "peft-studio-loop"]


def run(program: str, *arguments: str) -> list[str]:
    """The lines that a program of its own prints; it must end well and say nothing on stderr."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:.*fork:DeprecationWarning", "-c", program,
         str(Path(__file__).parent), *arguments],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (0, "") == (done.returncode, done.stderr)
    return done.stdout.splitlines()

"""A user with an installed connector, and a real keyring where this machine has one to start."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..plugins.conftest import Site, home, site  # noqa: TID252 -- tests are no package with a name

__all__ = ["Site", "home", "site"]

#: What the fixtures start; both are Debian packages.
PROGRAMS = {"dbus-daemon": "dbus", "gnome-keyring-daemon": "gnome-keyring"}


@pytest.fixture(scope="session")
def keyring_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Variables that lead to a Secret Service of its own: gnome-keyring on a private bus, unlocked."""
    missing = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if missing:
        pytest.skip(f"there is no keyring service to start: apt-get install {' '.join(missing)}")
    folder = tmp_path_factory.mktemp("keyring")
    folder.chmod(0o700)
    environment = {"HOME": str(folder), "XDG_DATA_HOME": str(folder / "data"), "XDG_RUNTIME_DIR": str(folder)}
    bus = subprocess.Popen(
        ["dbus-daemon", "--session", "--nofork", "--print-address=1", f"--address=unix:path={folder}/bus"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env={**os.environ, **environment},
    )  # fmt: skip
    assert bus.stdout is not None
    environment["DBUS_SESSION_BUS_ADDRESS"] = bus.stdout.readline().strip()
    daemon = subprocess.Popen(
        ["gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets"],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert daemon.stdin is not None
    daemon.stdin.write(b"the password of this keyring\n")
    daemon.stdin.close()
    _wait_for_secrets(environment)
    yield environment
    for process in (daemon, bus):
        process.terminate()
        process.wait()
    bus.stdout.close()


def _wait_for_secrets(environment: dict[str, str]) -> None:
    """Until the service has its name on the bus."""
    program = (
        "import time, secretstorage\n"
        "bus = secretstorage.dbus_init()\n"
        "while not secretstorage.check_service_availability(bus): time.sleep(0.05)\n"
        "while secretstorage.get_default_collection(bus).is_locked(): time.sleep(0.05)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60, env={**os.environ, **environment})


@pytest.fixture
def studio(site: Site, home: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command line, with what is in the site directory installed; `input` is what it reads from a pipe."""

    def run(
        *arguments: str | Path, code: int = 0, input: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(filter(None, [str(site.root), os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            [sys.executable, "-m", "peft_studio.cli", *map(str, arguments)],
            capture_output=True, text=True, check=False, cwd=home.parent, input=input,
            env={**os.environ, "PYTHONPATH": path, "COLUMNS": "120", **environment},
        )  # fmt: skip
        assert code == done.returncode, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture
def no_keyring() -> dict[str, str]:
    """Variables of a server: no bus, no desktop."""
    return {"DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere", "XDG_RUNTIME_DIR": "/nowhere", "DISPLAY": ""}

"""Environments to measure in: ours from built wheels and each peer alone, byte-compiled, in `.bench/`.

Peers break each other's pins, and an editable install starts differently from what a user gets. An environment is
made afresh when what it holds changes, and kept otherwise; where only our code has changed, our wheels are put in anew.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
CACHE: Final = ROOT / ".bench"
OURS: Final = ("core", "worker", "testkit", "connector-local", "connector-huggingface")
#: The torch that development agrees on (noxfile.py). Always its CPU build: a CUDA build is several GB.
TORCH: Final = "2.13.0"
_SCRIPTS: Final = "Scripts" if os.name == "nt" else "bin"


class Environment:
    """One virtual environment."""

    def __init__(self, name: str) -> None:
        self.path = CACHE / "environments" / name

    @property
    def python(self) -> str:
        """Its interpreter."""
        return self.program("python")

    def program(self, name: str) -> str:
        """A console script of the environment."""
        return str(self.path / _SCRIPTS / name)


class Installer:
    """Makes environments, with uv where it can be had and with pip otherwise."""

    def __init__(self) -> None:
        self._uv = find_uv()
        self._environment = {**installer_settings(), **os.environ}
        # uv and pip compile with the measured interpreter, which must be allowed to write what it compiled.
        self._environment.pop("PYTHONDONTWRITEBYTECODE", None)
        CACHE.mkdir(exist_ok=True)
        (CACHE / ".gitignore").write_text("*\n", encoding="utf-8")

    def make(self, name: str, *requirements: str, bare: tuple[str, ...] = (), torch: bool = False) -> Environment:
        """The environment of that name with these requirements; `bare` ones come without what they depend on."""
        environment = Environment(name)
        wanted = _fingerprint([*requirements, *bare, str(torch), sys.version, *_declared()])
        installed, content = environment.path / "installed", _content(requirements)
        before = installed.read_text(encoding="utf-8").split() if installed.exists() else ["", ""]
        if before[0] != wanted:
            say(f"installing {name}")
            shutil.rmtree(environment.path, ignore_errors=True)
            self._create(environment)
            self._install(environment, *requirements, *(self.torch if torch else ()))
            if bare:
                self._install(environment, "--no-deps", *bare)
        elif before[1] != content:
            say(f"installing our wheels into {name}")
            local = [requirement for requirement in requirements if _file(requirement)]
            self._install(environment, "--no-deps", "--force-reinstall", *local)
        else:
            return environment
        # Also what the installer left out: a start without bytecode measures the compiler.
        self._run(environment.python, "-m", "compileall", "-qq", "-j", "0", str(environment.path), check=False)
        installed.write_text(f"{wanted} {content}", encoding="utf-8")
        return environment

    def build_wheels(self) -> dict[str, Path]:
        """Our distributions as wheels, by their names."""
        wheels = CACHE / "wheels"
        shutil.rmtree(wheels, ignore_errors=True)
        for package in OURS:
            source, out = str(ROOT / "packages" / package), str(wheels)
            if self._uv:
                self._run(self._uv, "build", "--quiet", "--wheel", "--out-dir", out, source)
            else:
                self._run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", out, source)
        return {wheel.name.split("-")[0].replace("_", "-"): wheel for wheel in sorted(wheels.glob("*.whl"))}

    @cached_property
    def torch(self) -> tuple[str, ...]:
        """Requirement of a CPU build; `+cpu` cannot be answered with anything else."""
        if sys.platform != "linux":
            return (f"torch=={TORCH}",)
        pinned = f"torch=={TORCH}+cpu"
        if not self._uv:
            return (pinned,)
        probe = (self._uv, "pip", "install", "--dry-run", "--quiet", "--no-deps", "--python", sys.executable, pinned)
        found = subprocess.run(probe, env=self._environment, check=False, capture_output=True).returncode == 0
        return (pinned,) if found else (pinned, "--torch-backend=cpu")

    def _create(self, environment: Environment) -> None:
        if self._uv:
            self._run(self._uv, "venv", "--quiet", "--python", sys.executable, str(environment.path))
        else:
            self._run(sys.executable, "-m", "venv", "--without-pip", str(environment.path))

    def _install(self, environment: Environment, *requirements: str) -> None:
        command: tuple[str, ...]
        if self._uv:
            command = (self._uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", environment.python)
        else:
            pip = (sys.executable, "-m", "pip", "--python", environment.python, "--disable-pip-version-check")
            command = (*pip, "install", "--quiet")
        self._run(*command, *requirements)

    def _run(self, *command: str, check: bool = True) -> None:
        subprocess.run(command, env=self._environment, check=check)


def wheel(wheels: dict[str, Path], name: str, extra: str = "") -> str:
    """A requirement that is answered by one of our wheels."""
    return f"{name}{f'[{extra}]' if extra else ''} @ {wheels[name].as_uri()}"


def find_uv() -> str | None:
    """The program uv: on PATH, or the one that dev.py keeps."""
    return shutil.which("uv") or shutil.which("uv", path=str(ROOT / ".nox" / "runner" / _SCRIPTS))


def installer_settings() -> dict[str, str]:
    """What pip is told on this machine, in uv's words, as dev.py tells it."""
    sys.path.insert(0, str(ROOT))
    from dev import read_pip_settings, uv_settings  # type: ignore[import-not-found]  # beside us once run

    command = [sys.executable, "-m", "pip", "config", "list"]
    listing = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    settings: dict[str, str] = uv_settings(read_pip_settings(listing))
    return settings


def say(message: str) -> None:
    """A line of progress."""
    print(f"bench: {message}", file=sys.stderr, flush=True)


def _file(requirement: str) -> Path | None:
    """The wheel that a requirement names, if it names one."""
    url = requirement.partition(" @ file://")[2]
    return Path(url) if url else None


def _content(requirements: Sequence[str]) -> str:
    """Changes with the content of the wheels among the requirements."""
    wheels = [_file(requirement) for requirement in requirements]
    return _fingerprint([hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels if wheel])


def _declared() -> list[str]:
    """What our distributions ask for."""
    return [(ROOT / "packages" / package / "pyproject.toml").read_text(encoding="utf-8") for package in OURS]


def _fingerprint(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()

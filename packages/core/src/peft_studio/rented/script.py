"""The start command of every rented machine."""

from __future__ import annotations

from importlib.resources import files


def bootstrap_script() -> str:
    """A fixed POSIX shell script for `sh -c`, which reads its parameters from the environment.

    The parameters are those of `peft-studio-worker serve`, and PEFT_STUDIO_WORKER_VERSION: the version to install.
    """
    return files(__package__).joinpath("bootstrap.sh").read_text(encoding="utf-8")

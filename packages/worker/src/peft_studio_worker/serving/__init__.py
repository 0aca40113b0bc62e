"""The worker over the network: what runs on a rented machine, from its first second to its own teardown.

A rented machine costs money until somebody ends it, so the worker that it runs looks after the machine as well: it
serves the job's inputs, events and artifact to one client, keeps the limits of time and money, and tears the machine
down when the client has everything, or has vanished. `bootstrap_script` is what a platform is told to run.
"""

from __future__ import annotations

from importlib.resources import files


def bootstrap_script() -> str:
    """The start command of a rented machine: a fixed POSIX shell script that reads its parameters from the environment.

    The parameters are those of `peft-studio-worker serve`, and PEFT_STUDIO_WORKER_VERSION: the version to install.
    """
    return files(__name__).joinpath("bootstrap.sh").read_text(encoding="utf-8")

"""Environments of their own for platforms' own clients, which weigh much and break each other's pins.

For tests that let such a client talk to a sandbox. It comes from the public registries; where these cannot be reached
the test is skipped, and says so.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import venv
from pathlib import Path
from typing import Final

import pytest

#: How pip, uv and npm say that there is no network, or one whose certificates they do not trust.
_UNREACHABLE: Final = re.compile(
    r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|Temporary failure in name resolution"
    r"|NameResolutionError|Name or service not known"
    r"|NewConnectionError|ConnectTimeout|Read timed out|dns error|error sending request|Connection refused"
    r"|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_GET_ISSUER_CERT|UNABLE_TO_VERIFY_LEAF_SIGNATURE|CERTIFICATE_VERIFY_FAILED"
)
#: Seconds.
_PATIENCE: Final = 600


def obtain(*command: str | Path) -> None:
    """Run an installer; skip the test where it finds no network, and fail it for any other reason."""
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=_PATIENCE, check=False
    )
    said = done.stdout + done.stderr
    if done.returncode and _UNREACHABLE.search(said):
        pytest.skip(
            f"the registry of {Path(command[0]).name} cannot be reached: the platform's own client was not asked"
        )
    assert done.returncode == 0, said


def python_with(folder: Path, *requirements: str) -> Path:
    """The Python of a new environment in `folder` that has these packages; its programs lie beside it."""
    uv = shutil.which("uv")
    venv.create(folder, with_pip=uv is None)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if uv is None:
        obtain(python, "-m", "pip", "install", *requirements)  # its warnings tell why, its errors do not
    else:
        obtain(uv, "pip", "install", "--quiet", "--python", python, *requirements)
    return python

"""A folder to the Hub, or home: how long it took, and how the memory grew. Runs in either contestant's environment.

`python hub_client.py ours|huggingface_hub upload|download FOLDER`
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

REPOSITORY = "me/large"
#: What the process that uploads imports before it does anything.
IMPORTS = "import httpx2; from huggingface_hub import CommitOperationAdd, HfApi; from huggingface_hub.utils import *"
_UNIT = 1 if sys.platform == "darwin" else 1024


async def main(contestant: str, action: str, folder: Path) -> dict[str, float]:
    """Seconds, and MiB."""
    call, close = await (_ours if contestant == "ours" else _theirs)(action, folder)
    before, started = memory(), time.perf_counter()
    await call()
    told = {"seconds": time.perf_counter() - started, "growth": (peak() - before) / 2**20}
    if (contestant, action) == ("ours", "upload"):
        uploader = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * _UNIT
        told["uploader_growth"] = (uploader - _import_memory()) / 2**20
    await close()
    return told


async def _ours(action: str, folder: Path) -> tuple[Callable[[], Awaitable[Any]], Callable[[], Awaitable[Any]]]:
    from peft_studio_huggingface.connector import HuggingFaceConnector

    connector = HuggingFaceConnector()
    await connector.connect(json.loads(os.environ["CREDENTIALS"]))
    if action == "upload":
        return lambda: connector.upload_artifact(str(folder), {"repo_id": REPOSITORY}), connector.disconnect
    return lambda: connector.download_model(REPOSITORY, folder), connector.disconnect


async def _theirs(action: str, folder: Path) -> tuple[Callable[[], Awaitable[Any]], Callable[[], Awaitable[Any]]]:
    from huggingface_hub import HfApi

    api = HfApi()
    api.whoami()

    async def call() -> None:
        if action == "upload":
            api.create_repo(REPOSITORY, private=True)
            api.upload_folder(repo_id=REPOSITORY, folder_path=folder)
        else:
            api.snapshot_download(REPOSITORY, local_dir=folder)

    async def close() -> None:
        return None

    return call, close


def memory() -> int:
    """Bytes now."""
    return _status("VmRSS") or peak()


def peak() -> int:
    """Most bytes so far."""
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _UNIT


def _status(name: str) -> int:
    """Bytes; 0 where the system does not tell."""
    try:
        found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    except FileNotFoundError:
        return 0
    return int(found[1]) * 1024 if found else 0


def _import_memory() -> int:
    """Bytes that a process has after the imports of the one that uploads."""
    code = f"{IMPORTS}; import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout) * _UNIT


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))))

"""Lay out the folder of a job that is over, with an artifact of so many bytes. Runs in our environment."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from peft_studio.artifacts import write_manifest
from peft_studio_worker.events import EventLog
from peft_studio_worker.job_folder import JobFolder

_BLOCK = 2**20


def main(root: Path, size: int) -> None:
    """As the supervisor leaves it."""
    folder = JobFolder(root / "ps-job")
    folder.path.mkdir(parents=True)
    folder.write_job({"id": "ps-job", "created": "2026-01-01T00:00:00Z", "config": {}, "inputs": []})
    folder.artifact.mkdir()
    with (folder.artifact / "adapter_model.safetensors").open("wb") as weights:
        for start in range(0, size, _BLOCK):
            weights.write(os.urandom(min(_BLOCK, size - start)))
    (folder.artifact / "adapter_config.json").write_text('{"peft_type": "LORA"}', encoding="utf-8")
    write_manifest(folder.artifact)
    log = EventLog(folder.events)
    for status in ("running", "completed"):
        log.append("state", {"status": status, "resumable": False})
    log.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

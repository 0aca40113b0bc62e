"""No room or no permission while saving: one sentence, and nothing that existed is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from peft_studio.errors import InvalidConfig
from peft_studio_worker.training import checkpoints

pytestmark = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("mount") is None, reason="mounts a small disk"
)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB: room for some checkpoints of the tiny adapter, each about 120 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=False)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)  # a traceback may still hold a mapped file


def names(folder: Path) -> list[str]:
    """What is in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())


def move_to(disk: Path, job: Path) -> Path:
    """The job on the small disk; its dataset stays where it is."""
    return Path(shutil.move(str(job), str(disk)))


def test_disk_full(make_job, train, small_disk) -> None:
    """The checkpoint that does not fit is refused; those before are whole, and the job goes on once there is room."""
    folder = move_to(small_disk, make_job(checkpoint_steps=1))
    train(folder, stop_after=2)
    room = shutil.disk_usage(small_disk).free
    (small_disk / "filler").write_bytes(b"x" * (room - 50_000))

    with pytest.raises(InvalidConfig) as caught:
        train(folder)

    assert str(caught.value).startswith(f"the checkpoint of step 3 cannot be written to {folder / 'checkpoints'}: ")
    assert "No space left on device" in str(caught.value)
    assert caught.value.remedy == "make room or mend the permissions, then resume the job"
    assert ["step-00000001", "step-00000002"] == names(folder / "checkpoints")
    assert 2 == checkpoints.load(checkpoints.newest(folder / "checkpoints"))[0].step

    (small_disk / "filler").unlink()
    assert 3 == train(folder, stop_after=3).of("step")[0]["step"]


def test_no_room_for_the_artifact(make_job, train, small_disk) -> None:
    """An artifact that does not fit leaves nothing half-written, and the trained weights stay in the checkpoint."""
    folder = move_to(small_disk, make_job(checkpoint_steps=6))
    room = shutil.disk_usage(small_disk).free
    (small_disk / "filler").write_bytes(b"x" * (room - 130_000))

    with pytest.raises(InvalidConfig, match=r"the adapter cannot be written .*No space left on device"):
        train(folder)

    assert ["checkpoints", "job.json"] == names(folder)
    assert ["step-00000006"] == names(folder / "checkpoints")


def test_no_permission(make_job, train, small_disk) -> None:
    """A disk that cannot be written to is told as such."""
    folder = move_to(small_disk, make_job(checkpoint_steps=1))
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)

    with pytest.raises(InvalidConfig, match=r"the checkpoint of step 1 cannot be written .*Read-only file system"):
        train(folder)

    assert json.loads((folder / "job.json").read_text())["id"] == "job"

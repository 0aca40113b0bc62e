"""How much memory a container leaves."""

from __future__ import annotations

import pytest

from peft_studio_worker.training.memory import _container_room


def write(folder, **files):
    """Files of a control group; "memory__max" is the file memory.max."""
    for name, text in files.items():
        path = folder / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


def test_no_container(tmp_path):
    """Without a control group there is no limit."""
    assert [] == _container_room(tmp_path)


@pytest.mark.parametrize(("limit", "room"), [("max", []), ("1000", [700])])
def test_cached_files_count_as_free(tmp_path, limit, room):
    """What the kernel keeps of read files (the model's own, above all) can be had."""
    stat = "anon 250\ninactive_file 200\nactive_file 50"
    write(tmp_path, memory__max=limit, memory__current=500, memory__stat=stat)

    assert room == _container_room(tmp_path)


def test_first_generation(tmp_path):
    """The older kernel's files say the same in other words."""
    write(
        tmp_path / "memory", memory__limit_in_bytes=1000, memory__usage_in_bytes=500,
        memory__stat="inactive_file 7\ntotal_inactive_file 100",
    )  # fmt: skip

    assert [600] == _container_room(tmp_path)

"""Whatever is wrong with the input: one clear sentence, a non-zero exit code, and nothing that existed is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The one sentence of an error."""
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    assert 1 == len(errors), done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    return errors[0]


def bad_dataset(folder: Path, content: bytes, name: str = "bad.jsonl") -> str:
    """A dataset file; its path."""
    (folder / name).write_bytes(content)
    return str(folder / name)


GOOD = b'{"prompt": "a", "completion": "b"}\n'


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "bad.jsonl does not exist"),
        (b"", "bad.jsonl is empty"),
        (GOOD + GOOD[:20], "has 1 bad row: line 2: the line is cut off in the middle"),
        (GOOD + b'{"prompt": "caf\xe9"}\n', "is not UTF-8: line 2 has the byte 0xe9"),
        (GOOD.decode().encode("utf-16"), "is UTF-16"),
        (GOOD + b'{"prompt": "a"}\n', "has 1 bad row: line 2: completion is missing"),
        (b'{"a": 1}\n', "has no known format: its columns are a"),
    ],
)
def test_dataset(studio, write_config, tmp_path, content, expected):
    """A dataset that cannot be trained on is refused by file and line, and no job is made."""
    path = str(tmp_path / "bad.jsonl") if content is None else bad_dataset(tmp_path, content)
    done = studio("run", write_config(dataset_path=path), "--out", tmp_path / "out", code=3)

    assert expected in sentence(done)
    assert not (tmp_path / "out").exists()
    assert not list((studio.home / "data" / "jobs").glob("*"))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"algorithm": "lorra"}, "line 1: algorithm must be one of lora, qlora,"),
        ({"rank": 0}, "line 1: rank must be at least 1, not 0"),
        ({"base_model": "./absent"}, "absent does not exist"),
        ({"resource_id": "cuda:7"}, "this machine has no resource 'cuda:7', only cpu"),
    ],
)
def test_config(studio, write_config, settings, expected):
    """A config that cannot be trained is refused by field."""
    assert expected in sentence(studio("run", write_config(**settings), code=3))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"validation_split": 0.99}, "validation_split 0.99 of 48 examples leaves none to train on"),
        ({"target_modules": ["qq_proj"]}, "target_modules qq_proj match nothing in the model; its linear layers are"),
        ({"max_seq_length": 8}, "/facts.jsonl has 48 bad rows: line 1: "),
    ],
)
def test_trainer_refuses(studio, write_config, tmp_path, settings, expected):
    """What only the trainer can see fails the job with one sentence, and the output folder is given back."""
    done = studio("run", write_config(**settings), "--out", tmp_path / "out", code=7)

    assert expected in sentence(done)
    assert [] == list((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_model_without_weights(studio, write_config, tiny_model, tmp_path):
    """A model folder without weights is refused by name."""
    model = shutil.copytree(tiny_model, tmp_path / "model")
    (model / "model.safetensors").unlink()

    assert f"base_model {model} has no weights" in sentence(studio("run", write_config(base_model=str(model)), code=7))


@pytest.mark.slow
def test_not_enough_memory(studio, write_config, tiny_model, tmp_path):
    """A model that does not fit the memory is refused before it is loaded, with what it needs and what there is."""
    model = shutil.copytree(tiny_model, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"vocab_size": 200_000_000, "hidden_size": 4096}))
    done = studio("run", write_config(base_model=str(model)), code=7)

    assert "memory" in sentence(done)
    assert "GiB" in sentence(done)


def test_output_is_not_empty(studio, write_config, tmp_path):
    """A folder with something in it is left as it is."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    done = studio("run", write_config(), "--out", out, code=3)

    assert f"output folder {out} is not empty; choose a new folder" in sentence(done)
    assert [("thesis.txt", "mine")] == [(path.name, path.read_text()) for path in out.iterdir()]


def test_pull_into_a_folder_that_is_not_empty(studio, tmp_path):
    """An unknown job is refused before its destination is looked at."""
    assert "no job 'absent'" in sentence(studio("jobs", "pull", "absent", tmp_path, code=9))


def test_no_write_permission(studio, write_config):
    """A folder that cannot be made is named with the system's reason."""
    assert "/proc/nowhere" in sentence(studio("run", write_config(), "--out", "/proc/nowhere", code=6))


def test_home_cannot_be_written(studio, tmp_path):
    """A home that cannot be made is named."""
    studio.environment["PEFT_STUDIO_HOME"] = "/proc/nowhere"

    assert "the ledger /proc/nowhere/data/ledger.sqlite3 cannot be used" in sentence(studio("jobs", "list", code=1))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one mebibyte; needs the right to mount."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root; continuous integration has it")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_disk_is_full_at_the_start(studio, write_config, small_disk):
    """A dataset that does not fit the disk is told so, and nothing of the job stays."""
    dataset = bad_dataset(studio.home, GOOD * 100_000)
    studio.environment["PEFT_STUDIO_HOME"] = str(small_disk)
    done = studio("run", write_config(dataset_path=dataset), code=6)

    assert "No space left on device" in sentence(done)
    assert [] == list((small_disk / "data" / "jobs").iterdir())


@pytest.mark.slow
def test_disk_is_full_at_the_end(studio, write_config, small_disk):
    """An adapter that does not fit the output's disk fails the job and says where the adapter still is."""
    (small_disk / "ballast").write_bytes(b"x" * 1_000_000)
    done = studio("run", write_config(rank=64), "--out", small_disk / "adapter", code=7)

    assert "trained, but the adapter could not be put into" in sentence(done)
    (job,) = studio.json("jobs", "list")
    assert (studio.folder(job["id"]) / "artifact" / "adapter_model.safetensors").is_file()
    assert 1_000_000 == (small_disk / "ballast").stat().st_size

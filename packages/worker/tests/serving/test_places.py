"""Inputs that stand at a place of their own, such as the files of a base model; none of them leaves its folder."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from peft_studio_worker.serving.inputs import InputStore, is_place

from .conftest import job_of

DIGEST = hashlib.sha256(b"weights").hexdigest()
DATASET = b'{"prompt": "a", "completion": "b"}\n'
MODEL = {"model/tiny/config.json": b"{}", "model/tiny/nested/weights.bin": b"weights"}
ESCAPES = [
    "../x", "a/../x", "a/..", "..", "/etc/passwd", "/a/b", "a//b", "a/", "./a/b", "a/./b", "a\\b/c", "a/b\\c", "C:\\x",
    "x", "", "a/\nb", "a/b\0", "a/" + "b" * 600, DIGEST, f"{DIGEST}/x", f"{DIGEST}.jsonl/x", f".{DIGEST}.part/x",
]  # fmt: skip


@pytest.mark.parametrize("place", ["model/config.json", "model/tiny/nested/weights.bin", "a/.hidden", "a/b..c", "ä/ö"])
def test_place_inside(place: str) -> None:
    """In a folder of its own."""
    assert is_place(place)


@pytest.mark.parametrize("place", ESCAPES)
def test_place_elsewhere(place: str) -> None:
    """It leads out, or among the store's own files."""
    assert not is_place(place)


def test_file_stands_at_its_place(tmp_path) -> None:
    """And under its digest still; putting it there again, or another one, replaces it."""
    store, other = InputStore(tmp_path), hashlib.sha256(b"other").hexdigest()
    (tmp_path / DIGEST).write_bytes(b"weights")
    (tmp_path / other).write_bytes(b"other")

    for digest, content in ((DIGEST, b"weights"), (DIGEST, b"weights"), (other, b"other")):
        assert content == store.put_at(digest, "model/tiny.bin").read_bytes()
        assert tmp_path / digest == store.find(digest)
    assert b"weights" == (tmp_path / DIGEST).read_bytes()


def test_place_of_nothing(tmp_path) -> None:
    """There is no such file."""
    with pytest.raises(FileNotFoundError):
        InputStore(tmp_path).put_at(DIGEST, "model/tiny.bin")


def job_with(worker: Any, files: dict[str, bytes], **config: Any) -> dict[str, Any]:
    """A job whose files are uploaded."""
    job = job_of(worker.upload(DATASET), len(DATASET), **config)
    for place, content in files.items():
        job["inputs"].append({"sha256": worker.upload(content), "size": len(content), "place": place})
    return job


def test_job_brings_its_base_model(worker) -> None:
    """Its files stand in one folder; to bring the same job again changes nothing, another one is refused."""
    job = job_with(worker, MODEL, base_model="inputs/model/tiny")
    job["inputs"][0]["place"] = None

    assert 201 == worker.ask("PUT", "/v1/job", job).status
    assert MODEL == {place: (worker.folder.inputs / place).read_bytes() for place in MODEL}
    assert "inputs/model/tiny" == json.loads((worker.folder.path / "job.json").read_text())["config"]["base_model"]

    for place, content in MODEL.items():
        digest = worker.upload(content)
        assert "?1" == worker.ask("HEAD", f"/v1/inputs/{digest}").headers["upload-complete"], place
    assert 200 == worker.ask("PUT", "/v1/job", job).status
    job["inputs"][-1]["place"] = "model/tiny/elsewhere.bin"
    assert 409 == worker.ask("PUT", "/v1/job", job).status


def test_places_are_checked_before_anything_is_put(worker) -> None:
    """One sentence tells the fault, and the folder stays as it was."""
    before = job_with(worker, {"model/a": b"weights"}, base_model="inputs/model")
    files = sorted(path.name for path in worker.folder.inputs.iterdir())
    for place in ESCAPES:
        before["inputs"][-1]["place"] = place
        answer = worker.ask("PUT", "/v1/job", before)
        assert (422, "inputs must be a list") == (answer.status, answer.json["detail"][:21]), place

    assert files == sorted(path.name for path in worker.folder.inputs.iterdir())
    assert not worker.job["has_job"]


@pytest.mark.parametrize("places", [("model/a", "model/a"), ("model/a", "model/a/b"), ("model/a/b", "model/a")])
def test_places_that_exclude_each_other(worker, places) -> None:
    """A file is no folder, and not another file."""
    job = job_with(worker, {"model/x": b"1", "model/y": b"2"}, base_model="inputs/model")
    job["inputs"][-2]["place"], job["inputs"][-1]["place"] = places

    answer = worker.ask("PUT", "/v1/job", job)

    assert (422, "two inputs need the place 'model/a'") == (answer.status, answer.json["detail"])


@pytest.mark.parametrize("model", ["inputs/model/ti", "inputs/other", "inputs/model/tiny/config.json/x"])
def test_base_model_that_was_not_brought(worker, model) -> None:
    """The trainer would look for it elsewhere."""
    answer = worker.ask("PUT", "/v1/job", job_with(worker, MODEL, base_model=model))

    assert 422 == answer.status
    assert "base_model must be the place of an input" in answer.json["detail"]

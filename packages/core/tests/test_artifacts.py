"""The manifest of an artifact: what it says, what it catches, and that nothing half-made appears."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from peft_studio.artifacts import Manifest, copy_verified, pack, read_manifest, verify, write_manifest
from peft_studio.errors import ArtifactNotFound, InvalidConfig


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """A small artifact with a nested file."""
    folder = tmp_path / "artifact"
    (folder / "nested").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(b"weights")
    (folder / "nested" / "card.md").write_text("card", encoding="utf-8")
    write_manifest(folder)
    return folder


def test_manifest_lists_every_file_sorted(artifact: Path) -> None:
    """Paths are relative with slashes, sorted, with size and sha256; the manifest does not list itself."""
    files = read_manifest(artifact).files

    assert ["nested/card.md", "weights.bin"] == [entry.path for entry in files]
    assert (7, hashlib.sha256(b"weights").hexdigest()) == (files[1].size, files[1].sha256)


def test_manifest_is_reproducible(artifact: Path) -> None:
    """Writing it again gives the same text, and its digest stands for the whole."""
    before = (artifact / "manifest.json").read_bytes()

    manifest = write_manifest(artifact)

    assert before == (artifact / "manifest.json").read_bytes()
    assert hashlib.sha256(before).hexdigest() == manifest.sha256
    assert 11 == manifest.size


def test_whole_artifact_verifies(artifact: Path) -> None:
    """An untouched folder gives back its manifest."""
    assert read_manifest(artifact) == verify(artifact)


def test_changed_byte_is_found(artifact: Path) -> None:
    """A file of the right length with another content is named."""
    (artifact / "weights.bin").write_bytes(b"Weights")

    with pytest.raises(InvalidConfig, match=r"damaged: weights\.bin has another sha256"):
        verify(artifact)


def test_truncated_file_is_found(artifact: Path) -> None:
    """A short file is named with both lengths."""
    (artifact / "weights.bin").write_bytes(b"wei")

    with pytest.raises(InvalidConfig, match=r"weights\.bin has 3 bytes instead of 7"):
        verify(artifact)


def test_missing_and_surplus_files_are_found(artifact: Path) -> None:
    """What is listed must be there, and nothing else may be."""
    (artifact / "stray").write_text("x")
    with pytest.raises(InvalidConfig, match=r"stray is not in its manifest\.json"):
        verify(artifact)

    (artifact / "nested" / "card.md").unlink()
    with pytest.raises(InvalidConfig, match=r"nested/card\.md is missing"):
        verify(artifact)


def test_folder_without_manifest_is_no_artifact(tmp_path: Path) -> None:
    """No manifest, no artifact."""
    with pytest.raises(ArtifactNotFound, match=r"it has no manifest\.json"):
        verify(tmp_path)


@pytest.mark.parametrize("path", ["../evil", "/etc/passwd", "a/../../b", "a\\b", ""])
def test_manifest_cannot_lead_out_of_its_folder(path: str) -> None:
    """A manifest that names a place outside is refused."""
    text = Manifest(()).to_json().replace("[]", f'[{{"path": {json.dumps(path)}, "size": 1, "sha256": "0"}}]')

    with pytest.raises(ValueError, match="leads out of the folder"):
        Manifest.from_json(text)


def test_unreadable_manifest_is_one_sentence(artifact: Path) -> None:
    """A torn manifest names its file and what is wrong."""
    (artifact / "manifest.json").write_text('{"format": 1, "files": [{"path"')

    with pytest.raises(InvalidConfig, match=r"manifest\.json cannot be read"):
        verify(artifact)


def test_pack_is_deterministic(artifact: Path) -> None:
    """The tar holds every file and does not depend on times, owners or modes."""
    first = pack(artifact)
    os.utime(artifact / "weights.bin", (1, 1))
    (artifact / "weights.bin").chmod(0o600)

    assert first == pack(artifact)
    with tarfile.open(fileobj=io.BytesIO(first)) as archive:
        assert ["manifest.json", "nested/card.md", "weights.bin"] == archive.getnames()


def test_copy_arrives_whole(artifact: Path, tmp_path: Path) -> None:
    """A copy into a new folder verifies, and leaves nothing beside it."""
    copy_verified(artifact, tmp_path / "out" / "adapter")

    assert read_manifest(artifact) == verify(tmp_path / "out" / "adapter")
    assert ["adapter"] == [path.name for path in (tmp_path / "out").iterdir()]


def test_copy_into_an_empty_folder(artifact: Path, tmp_path: Path) -> None:
    """An empty folder may be filled."""
    (tmp_path / "adapter").mkdir()

    copy_verified(artifact, tmp_path / "adapter")

    assert read_manifest(artifact) == verify(tmp_path / "adapter")


def test_copy_never_overwrites(artifact: Path, tmp_path: Path) -> None:
    """A folder with something in it is refused, and what it holds stays."""
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "mine").write_text("precious")

    with pytest.raises(InvalidConfig, match="is not empty"):
        copy_verified(artifact, tmp_path / "adapter")

    assert "precious" == (tmp_path / "adapter" / "mine").read_text()


def test_copy_refuses_a_file_as_destination(artifact: Path, tmp_path: Path) -> None:
    """A file in the way is named and kept."""
    (tmp_path / "adapter").write_text("precious")

    with pytest.raises(InvalidConfig, match="is not a folder"):
        copy_verified(artifact, tmp_path / "adapter")


def test_copy_of_a_damaged_artifact_leaves_nothing(artifact: Path, tmp_path: Path) -> None:
    """When a file does not match, the destination does not appear, nor anything beside it."""
    (artifact / "weights.bin").write_bytes(b"Weights")

    with pytest.raises(InvalidConfig, match=r"weights\.bin"):
        copy_verified(artifact, tmp_path / "out" / "adapter")

    assert [] == list((tmp_path / "out").iterdir())

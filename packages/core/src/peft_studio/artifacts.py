"""The manifest of an artifact: which files belong to it, how long they are, and their sha256.

An artifact is a folder that travels: from worker to client, from client to registry. Whoever receives one checks it
against `manifest.json` before it appears under its final name, so that a folder with a manifest is a whole one.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any, Final, Self

from attrs import frozen

from peft_studio.errors import ArtifactNotFound, InvalidConfig

MANIFEST_NAME: Final = "manifest.json"
_FORMAT: Final = 1


@frozen
class ManifestEntry:
    """One file: its path relative to the folder with `/` as separator, its size in bytes, and its sha256 in hex."""

    path: str
    size: int
    sha256: str


@frozen
class Manifest:
    """Every file of an artifact except the manifest itself, sorted by path."""

    files: tuple[ManifestEntry, ...]

    @property
    def size(self) -> int:
        """Total size of the files, bytes."""
        return sum(entry.size for entry in self.files)

    @property
    def sha256(self) -> str:
        """Digest of the manifest's text: one value that stands for the whole artifact."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """The text of `manifest.json`; the same files always give the same text."""
        files = [{"path": entry.path, "size": entry.size, "sha256": entry.sha256} for entry in self.files]
        return json.dumps({"format": _FORMAT, "files": files}, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a manifest. Raises `ValueError` when it is not one, or names a path outside of its folder."""
        return cls.from_document(json.loads(text))

    @classmethod
    def from_document(cls, document: Any) -> Self:
        """The manifest that JSON has brought. Raises `ValueError` as `from_json` does."""
        if not isinstance(document, dict) or document.get("format") != _FORMAT:
            raise ValueError(f"not a manifest of format {_FORMAT}")
        return cls(tuple(_entry(item) for item in document.get("files", ())))


def write_manifest(folder: Path) -> Manifest:
    """Describe every file under `folder` and store the result in it as `manifest.json`."""
    paths = sorted(_names_of_files(folder) - {MANIFEST_NAME})
    manifest = Manifest(tuple(_describe(folder, path) for path in paths))
    (folder / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8", newline="\n")
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of an artifact. Raises `ArtifactNotFound` without one, `InvalidConfig` when it cannot be read."""
    path = folder / MANIFEST_NAME
    if not path.is_file():
        raise ArtifactNotFound(f"{folder} is not an artifact", why=f"it has no {MANIFEST_NAME}")
    try:
        return Manifest.from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidConfig(f"{path} cannot be read", why=str(error)) from error


def verify(folder: Path, *, already: Collection[str] = ()) -> Manifest:
    """Check that `folder` holds exactly what its manifest says. Raises `InvalidConfig` naming the bad file.

    Files in `already` have just been found to have their sha256, and are not read again.
    """
    manifest = read_manifest(folder)
    present = _names_of_files(folder) - {MANIFEST_NAME}
    for entry in manifest.files:
        if entry.path not in present:
            raise _damaged(folder, f"{entry.path} is missing")
        _check(folder / entry.path, entry, folder, is_read=entry.path not in already)
    surplus = sorted(present - {entry.path for entry in manifest.files})
    if surplus:
        raise _damaged(folder, f"{surplus[0]} is not in its {MANIFEST_NAME}")
    return manifest


def pack(folder: Path) -> bytes:
    """The artifact as one uncompressed tar. The same files give the same bytes, whoever packs them and when."""
    manifest = verify(folder)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted([MANIFEST_NAME, *(entry.path for entry in manifest.files)]):
            header = tarfile.TarInfo(path)
            header.size = (folder / path).stat().st_size
            with (folder / path).open("rb") as content:
                archive.addfile(header, content)
    return buffer.getvalue()


def copy_verified(source: Path, destination: Path) -> Manifest:
    """Copy an artifact and check every byte that arrived; it appears at `destination` in one rename, or not at all.

    `destination` must be new or an empty folder. Raises `InvalidConfig` otherwise, and when `source` is damaged.
    """
    require_empty(destination)
    manifest = read_manifest(source)
    destination.parent.mkdir(parents=True, exist_ok=True)
    arriving = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=destination.parent))
    try:
        for entry in manifest.files:
            _copy(source, arriving, entry)
        (arriving / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8", newline="\n")
        arriving.chmod(0o755)
        put_in_place(arriving, destination)
    except BaseException:
        shutil.rmtree(arriving, ignore_errors=True)
        raise
    return manifest


def require_empty(destination: Path) -> None:
    """Raise `InvalidConfig` unless `destination` does not exist or is an empty folder."""
    if not destination.exists() and not destination.is_symlink():
        return
    if not destination.is_dir():
        raise InvalidConfig(f"{destination} exists and is not a folder", remedy="choose a new folder")
    if any(destination.iterdir()):
        raise InvalidConfig(f"{destination} is not empty", remedy="choose a new folder, or empty this one first")


def put_in_place(arrived: Path, destination: Path) -> None:
    """Rename a finished folder to `destination`, which must be new or empty. Raises `InvalidConfig` otherwise."""
    require_empty(destination)
    if destination.is_dir():
        destination.rmdir()  # Windows does not rename over an empty folder
    try:
        arrived.rename(destination)
    except FileExistsError as error:
        raise InvalidConfig(f"{destination} was filled by somebody else meanwhile") from error


def _names_of_files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def _describe(folder: Path, path: str) -> ManifestEntry:
    with (folder / path).open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return ManifestEntry(path, (folder / path).stat().st_size, digest)


def _entry(item: Any) -> ManifestEntry:
    try:
        entry = ManifestEntry(str(item["path"]), int(item["size"]), str(item["sha256"]))
    except (TypeError, KeyError) as error:
        raise ValueError("an entry lacks its path, size or sha256") from error
    path = PurePosixPath(entry.path)
    if path.is_absolute() or ".." in path.parts or "\\" in entry.path or not path.parts:
        raise ValueError(f"{entry.path!r} leads out of the folder")
    return entry


def _check(path: Path, entry: ManifestEntry, folder: Path, *, is_read: bool = True) -> None:
    size = path.stat().st_size
    if size != entry.size:
        raise _damaged(folder, f"{entry.path} has {size} bytes instead of {entry.size}")
    if not is_read:
        return
    with path.open("rb") as content:
        if hashlib.file_digest(content, "sha256").hexdigest() != entry.sha256:
            raise _damaged(folder, f"{entry.path} has another sha256 than its {MANIFEST_NAME} says")


def _copy(source: Path, arriving: Path, entry: ManifestEntry) -> None:
    if not (source / entry.path).is_file():
        raise _damaged(source, f"{entry.path} is missing")
    target = arriving / entry.path
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / entry.path, target)
    _check(target, entry, source)


def _damaged(folder: Path, why: str) -> InvalidConfig:
    return InvalidConfig(f"the artifact in {folder} is damaged", why=why, remedy="fetch it again")

"""A repository comes home: file by file into a hidden neighbour, verified, and into place in one rename.

The neighbour's name tells commit and choice of files, so that another attempt, in this run or the next, goes on with
what has arrived, and never mixes two commits.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Final

from peft_studio import ArtifactNotFound, InvalidConfig, PlatformError
from peft_studio.artifacts import MANIFEST_NAME, Manifest, ManifestEntry, put_in_place, require_empty
from peft_studio_huggingface.api import HubApi
from peft_studio_huggingface.reading import unreadable
from peft_studio_huggingface.repository import RemoteFile, RepositoryId

#: Weights in other formats than safetensors. Pickles, which most of them are, run code when they are loaded.
_OTHER_WEIGHTS: Final = frozenset({
    ".bin", ".ckpt", ".gguf", ".h5", ".joblib", ".keras", ".mlmodel", ".msgpack", ".nemo", ".npy", ".npz", ".onnx",
    ".ot", ".pickle", ".pkl", ".pt", ".pt2", ".pth", ".tflite",
})  # fmt: skip
#: The Hub's own business, and what is written here anew.
_LEFT_THERE: Final = (".gitattributes", MANIFEST_NAME)


async def bring_home(api: HubApi, id: RepositoryId, destination: Path) -> Path:
    """Everything of that revision that is wanted. Raises `InvalidConfig` unless `destination` is new or empty."""
    require_empty(destination)
    commit = (await api.model(id)).sha
    if commit is None:
        raise unreadable(f"{id} has no sha")
    files = wanted(await api.files(id, commit), id, api.settings.weights)
    arriving = destination.with_name(f".{destination.name}-{_name(commit, files)}")
    entries = [await _arrive(api, id, commit, file, arriving / file.path) for file in files]
    manifest = Manifest(tuple(entries))
    (arriving / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8", newline="\n")
    put_in_place(arriving, destination)
    return destination


def wanted(files: Sequence[RemoteFile], id: RepositoryId, weights: str) -> list[RemoteFile]:
    """Those to download, by path. Raises `ArtifactNotFound`, and `InvalidConfig` when weights are in other formats."""
    found = sorted((file for file in files if file.path not in _LEFT_THERE), key=lambda file: file.path)
    if not found:
        raise ArtifactNotFound(f"{id} has no files")
    if weights == "all":
        return found
    kept = [file for file in found if not _is_other_weights(file)]
    if len(kept) < len(found) and not any(file.path.endswith(".safetensors") for file in kept):
        remedy = "set weights to all if you trust its author: such files can run code when they are loaded"
        raise InvalidConfig(f"{id} has no weights in safetensors", why=f"there is {_first_other(found)}", remedy=remedy)
    return kept


async def _arrive(api: HubApi, id: RepositoryId, commit: str, file: RemoteFile, place: Path) -> ManifestEntry:
    if not await asyncio.to_thread(file.is_in, place):
        await api.download(id, commit, file, place)
        if file.sha256 is None:  # of these the Hub knows git's sha1 alone, and the transport has not looked at it
            await asyncio.to_thread(_require, file, place)
    sha256 = await asyncio.to_thread(_sha256, place) if file.sha256 is None else file.sha256
    return ManifestEntry(file.path, file.size, sha256)


def _require(file: RemoteFile, place: Path) -> None:
    if not file.is_in(place):
        place.unlink()
        raise PlatformError(f"{file.path} is damaged", why="its sha1 in git is another", remedy="download it again")


def _is_other_weights(file: RemoteFile) -> bool:
    return PurePosixPath(file.path).suffix.lower() in _OTHER_WEIGHTS


def _first_other(files: Sequence[RemoteFile]) -> str:
    return next(file.path for file in files if _is_other_weights(file))


def _name(commit: str, files: Sequence[RemoteFile]) -> str:
    """The choice of files may change between two attempts; what is in the folder must be what was chosen."""
    paths = "\n".join([commit, *(file.path for file in files)])
    return hashlib.sha256(paths.encode()).hexdigest()[:12]


def _sha256(place: Path) -> str:
    with place.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()

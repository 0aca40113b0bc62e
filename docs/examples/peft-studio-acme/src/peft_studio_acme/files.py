"""Files on their way: what is uploaded of a folder, and how an adapter comes home, whole or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from peft_studio.artifacts import MANIFEST_NAME, Manifest, ManifestEntry, put_in_place, require_empty

from peft_studio_acme.api import File


def described(name: str, place: Path) -> File:
    """A file as the platform is told of it."""
    with place.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return File(name=name, size=place.stat().st_size, sha256=digest)


async def bring_home(
    files: Sequence[File], destination: Path, download: Callable[[File, Path], Awaitable[None]]
) -> Path:
    """Download to a hidden neighbour, where another attempt goes on; it becomes `destination` when it is whole."""
    require_empty(destination)
    files = sorted((file for file in files if file.name != MANIFEST_NAME), key=lambda file: file.name)
    manifest = Manifest(tuple(ManifestEntry(file.name, file.size, file.sha256) for file in files))
    arriving = destination.with_name(f".{destination.name}-{manifest.sha256[:12]}")
    for file in files:
        if not (arriving / file.name).exists():
            await download(file, arriving / file.name)
    (arriving / MANIFEST_NAME).write_text(manifest.to_json(), encoding="utf-8", newline="\n")
    put_in_place(arriving, destination)
    return destination

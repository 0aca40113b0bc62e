"""Artifacts: files stored once by content, a manifest that names them, and a commit that makes both a version.

Everything has a name that follows from the content, so that an upload that was cut off goes on where it ended, and one
that is repeated finds what is there.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from peft_studio import ArtifactNotFound, InvalidConfig, PlatformError
from peft_studio.artifacts import put_in_place, require_empty
from peft_studio_wandb import documents
from peft_studio_wandb.api import WandbApi
from peft_studio_wandb.paths import ArtifactPath, RunPath

#: Storages take no single PUT beyond it; W&B's way for more is a multipart upload, which is not written here.
LARGEST_FILE: Final = 5 * 2**30
#: Addresses that are asked for at once: they expire.
_BATCH: Final = 50
_AT_ONCE: Final = 4


@frozen
class LocalFile:
    """A file to be uploaded; `digest` is its md5 in base64."""

    name: str
    path: Path
    size: int
    digest: str


def files_in(source: Path) -> list[LocalFile]:
    """The files of a folder, or one file, by name. Raises `InvalidConfig`."""
    try:
        found = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
        files = [
            _described(path, path.relative_to(source).as_posix() if source.is_dir() else path.name) for path in found
        ]
    except OSError as error:
        raise InvalidConfig(f"{source} cannot be uploaded", why=error.strerror) from error
    if not files:
        raise InvalidConfig(f"{source} has no files")
    return files


def digest_of(files: Sequence[LocalFile]) -> str:
    """The digest of the artifact that is made of them."""
    total = hashlib.md5(b"wandb-artifact-manifest-v1\n", usedforsecurity=False)
    for file in sorted(files, key=lambda file: file.name):
        total.update(f"{file.name}:{file.digest}\n".encode())
    return total.hexdigest()


@frozen
class Upload:
    """Files that become a version of `collection`, written by `run`."""

    api: WandbApi
    run: RunPath
    collection: str
    files: Sequence[LocalFile]
    kind: str = "model"
    aliases: Sequence[str] = ()
    description: str | None = None
    metadata: Mapping[str, Any] | None = None

    async def send(self) -> ArtifactPath:
        """Upload what W&B does not have, and commit; the same content again is the version that is there."""
        artifact = await self._open(_name_of(self._place, digest_of(self.files)))
        if artifact["state"] == "DELETED":
            artifact = await self._open(secrets.token_hex(64))
        if artifact["state"] == "COMMITTED":
            return self._path(artifact)
        id = str(artifact["id"])
        manifest = await self._announce(id, "", with_upload=False)
        for start in range(0, len(self.files), _BATCH):
            await self._send_files(id, str(manifest["id"]), self.files[start : start + _BATCH])
        await self._send_manifest(id)
        committed = await self.api.ask(documents.COMMIT_ARTIFACT, artifact=id)
        return self._path(committed["commitArtifact"]["artifact"])

    @property
    def _place(self) -> str:
        return f"{self.run.entity}/{self.run.project}/{self.collection}"

    def _path(self, artifact: Mapping[str, Any]) -> ArtifactPath:
        version = artifact.get("versionIndex")
        if version is None:
            raise PlatformError("W&B tells no version of the artifact")
        return ArtifactPath(self.run.entity, self.run.project, self.collection, f"v{version}")

    async def _open(self, client_id: str) -> Mapping[str, Any]:
        alias = [
            {"alias": name, "artifactCollectionName": self.collection}
            for name in {"latest": None, **dict.fromkeys(self.aliases)}
        ]
        wanted = {
            "entityName": self.run.entity, "projectName": self.run.project, "runName": self.run.name,
            "artifactTypeName": self.kind, "artifactCollectionName": self.collection, "digest": digest_of(self.files),
            "digestAlgorithm": "MANIFEST_MD5", "clientID": client_id, "sequenceClientID": _name_of(self._place),
            "enableDigestDeduplication": True, "aliases": alias, "description": self.description,
            "metadata": json.dumps(dict(self.metadata or {})),
        }  # fmt: skip
        created = await self.api.ask(documents.CREATE_ARTIFACT, input=wanted)
        artifact: Mapping[str, Any] = created["createArtifact"]["artifact"]
        return artifact

    async def _announce(self, artifact: str, digest: str, *, with_upload: bool) -> Mapping[str, Any]:
        answer = await self.api.ask(
            documents.CREATE_MANIFEST, artifact=artifact, digest=digest, withUpload=with_upload, **self.run.variables
        )
        manifest: Mapping[str, Any] = answer["createArtifactManifest"]["artifactManifest"]
        return manifest

    async def _send_files(self, artifact: str, manifest: str, files: Sequence[LocalFile]) -> None:
        """A null in place of an address: W&B has these bytes."""
        wanted = [
            {"artifactID": artifact, "artifactManifestID": manifest, "name": file.name, "md5": file.digest}
            for file in files
        ]  # fmt: skip
        answer = await self.api.ask(documents.CREATE_FILES, input={"artifactFiles": wanted, "storageLayout": "V2"})
        nodes = [edge["node"] for edge in answer["createArtifactFiles"]["files"]["edges"]]
        if len(nodes) != len(files):
            raise PlatformError("W&B gives another number of addresses than there are files")
        turn = asyncio.Semaphore(_AT_ONCE)

        async def put(file: LocalFile, node: Mapping[str, Any]) -> None:
            async with turn:
                if node.get("uploadUrl"):
                    await self.api.put_file(node["uploadUrl"], node.get("uploadHeaders") or [], file.path)

        try:
            async with asyncio.TaskGroup() as group:
                for file, node in zip(files, nodes, strict=True):
                    group.create_task(put(file, node))
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None

    async def _send_manifest(self, artifact: str) -> None:
        contents = {
            file.name: {"digest": file.digest, "size": file.size, "birthArtifactID": artifact} for file in self.files
        }  # fmt: skip
        document = {
            "version": 1, "storagePolicy": "wandb-storage-policy-v1", "storagePolicyConfig": {"storageLayout": "V2"},
            "contents": contents,
        }  # fmt: skip
        with tempfile.TemporaryDirectory(prefix="peft-studio-") as folder:
            path = Path(folder) / "wandb_manifest.json"
            path.write_text(json.dumps(document), encoding="utf-8")
            announced = await self._announce(artifact, md5_of(path), with_upload=True)
            file = announced["file"]
            await self.api.put_file(file["uploadUrl"], file.get("uploadHeaders") or [], path)


@frozen
class Download:
    """A version that comes to a new folder, whole and verified or not at all."""

    api: WandbApi
    artifact: str
    destination: Path

    async def fetch(self) -> Path:
        """What has arrived waits beside the destination, and is gone on with at the next call."""
        require_empty(self.destination)
        arriving = self.destination.with_name(f".{self.destination.name}.part")
        arriving.mkdir(parents=True, exist_ok=True)
        contents = await self._contents(arriving)
        names = frozenset(contents)
        async for node in self.api.artifact_files(self.artifact):
            entry = contents.pop(node["name"], None)
            if entry is not None:
                await self._bring(node, entry, arriving)
        if contents:
            raise ArtifactNotFound(f"W&B lacks {', '.join(sorted(contents))} of the artifact")
        await asyncio.to_thread(_keep_only, names, arriving)
        put_in_place(arriving, self.destination)
        return self.destination

    async def _contents(self, arriving: Path) -> dict[str, Any]:
        answer = await self.api.ask(documents.MANIFEST, artifact=self.artifact)
        manifest = (answer.get("artifact") or {}).get("currentManifest")
        if manifest is None:
            raise ArtifactNotFound("the artifact has no manifest")
        with tempfile.TemporaryDirectory(prefix="peft-studio-", dir=arriving.parent) as folder:
            file = Path(folder) / "manifest"
            await self.api.get_file(manifest["file"]["directUrl"], file)
            contents: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["contents"]
        return contents

    async def _bring(self, node: Mapping[str, Any], entry: Mapping[str, Any], arriving: Path) -> None:
        file = _inside(arriving, node["name"])
        if file.exists() and await asyncio.to_thread(md5_of, file) == entry["digest"]:
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        await self.api.get_file(node["directUrl"], file, entry.get("size"))
        if await asyncio.to_thread(md5_of, file) != entry["digest"]:
            file.unlink()
            raise PlatformError(f"{node['name']} arrived damaged", why="its md5 is not that of the manifest")


def _keep_only(names: frozenset[str], folder: Path) -> None:
    """What has arrived of another artifact, that was to come here before, does not come along."""
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        if path.relative_to(folder).as_posix() not in names:
            path.unlink()


def md5_of(path: Path) -> str:
    """In base64, as W&B writes it everywhere."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
    return base64.b64encode(digest.digest()).decode()


def _described(path: Path, name: str) -> LocalFile:
    size = path.stat().st_size
    if size > LARGEST_FILE:
        raise InvalidConfig(f"{path} is larger than 5 GiB", remedy="save the model in several files")
    return LocalFile(name, path, size, md5_of(path))


def _name_of(*parts: str) -> str:
    """128 characters that follow from the parts."""
    return hashlib.shake_256("\n".join(parts).encode()).hexdigest(64)


def _inside(folder: Path, name: str) -> Path:
    """Raises `PlatformError` for a name that leads out of the folder."""
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()):
        raise PlatformError(f"the artifact holds a file outside of it: {name}")
    return file

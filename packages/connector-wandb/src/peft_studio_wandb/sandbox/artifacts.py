"""Artifacts: collections of versions, each a manifest and files that are stored once by digest."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from attrs import define, field

from peft_studio_wandb.sandbox.problems import Refusal
from peft_studio_wandb.sandbox.runs import opaque
from peft_studio_wandb.sandbox.storage import Storage


@define(kw_only=True)
class Artifact:
    """One version, or what will be one."""

    number: int
    entity: str
    project: str
    collection: str
    kind: str
    run: str | None
    digest: str
    client_id: str
    created: float
    aliases: set[str]
    fields: dict[str, Any] = field(factory=dict)
    state: str = "PENDING"
    version: int | None = None
    #: Keys of the manifests that were announced, in order.
    manifests: list[str] = field(factory=list)

    @property
    def id(self) -> str:
        """What GraphQL calls its id."""
        return opaque(f"Artifact:{self.number}")

    @property
    def place(self) -> tuple[str, str, str]:
        """Entity, project and collection."""
        return (self.entity, self.project, self.collection)


class Artifacts:
    """All of them, the oldest first."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage
        self.all: list[Artifact] = []

    def clear(self) -> None:
        """Forget everything."""
        self.all = []

    def open(self, given: Mapping[str, Any], now: float) -> Artifact:
        """A new version; the one that has the same content or the same client id, be it deleted, where there is one."""
        place = (given["entityName"], given["projectName"], given["artifactCollectionName"])
        aliases = {alias["alias"] for alias in given.get("aliases") or ()}
        for known in self.all:
            is_same = known.state == "COMMITTED" and known.digest == given["digest"]
            if known.place == place and (is_same and given.get("enableDigestDeduplication")):
                self.alias(known, aliases)
                return known
            if known.client_id == given["clientID"] and known.state != "COMMITTED":
                return known
        new = Artifact(
            number=len(self.all) + 1, entity=place[0], project=place[1], collection=place[2],
            kind=given["artifactTypeName"], run=given.get("runName"), digest=given["digest"],
            client_id=given["clientID"], created=now, aliases=aliases, fields=dict(given),
        )  # fmt: skip
        self.all.append(new)
        return new

    def by_id(self, id: str) -> Artifact:
        """Raises `Refusal`."""
        for artifact in self.all:
            if artifact.id == id:
                return artifact
        raise Refusal(404, f"artifact {id} not found")

    def versions(self, entity: str, project: str, collection: str) -> list[Artifact]:
        """What was committed and is still there, the oldest first."""
        place = (entity, project, collection)
        return [artifact for artifact in self.all if artifact.place == place and artifact.state == "COMMITTED"]

    def find(self, entity: str, project: str, name: str) -> Artifact | None:
        """A version by `collection:alias` or `collection:v3`; the latest without either."""
        collection, _, alias = name.partition(":")
        for artifact in self.versions(entity, project, collection):
            if (alias or "latest") in {f"v{artifact.version}", *artifact.aliases}:
                return artifact
        return None

    def alias(self, artifact: Artifact, aliases: Iterable[str]) -> None:
        """Give names to a version; another one loses them."""
        names = set(aliases)
        for other in self.versions(*artifact.place):
            other.aliases -= names
        artifact.aliases |= names

    def announce_manifest(self, artifact: Artifact, digest: str) -> tuple[str, str]:
        """The id and the key of a manifest that will be put."""
        key = f"manifests/{artifact.number}/{len(artifact.manifests)}"
        artifact.manifests.append(key)
        return opaque(f"ArtifactManifest:{key}"), key

    def file_key(self, artifact: Artifact, md5: str) -> str:
        """Where a file of that content lies: once in each project."""
        return f"artifacts/{artifact.entity}/{artifact.project}/{base64.b64decode(md5).hex()}"

    def manifest_key(self, artifact: Artifact) -> str | None:
        """The last manifest whose bytes are there."""
        return next((key for key in reversed(artifact.manifests) if key in self.storage.blobs), None)

    def contents(self, artifact: Artifact) -> dict[str, Any]:
        """Files by path, as the manifest tells them. Raises `Refusal` where there is none."""
        key = self.manifest_key(artifact)
        if key is None:
            raise Refusal(400, "the artifact has no manifest")
        contents: dict[str, Any] = json.loads(self.storage.blobs[key].read())["contents"]
        return contents

    def commit(self, artifact: Artifact) -> Artifact:
        """Make it a version; nothing happens to one that is. Raises `Refusal` for one that is not whole."""
        if artifact.state == "COMMITTED":
            return artifact
        if artifact.state == "DELETED":
            raise Refusal(400, "the artifact is deleted")
        contents = self.contents(artifact)
        stored = {path: entry for path, entry in contents.items() if not entry.get("ref")}
        missing = [
            path for path, entry in stored.items() if self.file_key(artifact, entry["digest"]) not in self.storage.blobs
        ]  # fmt: skip
        if missing:
            raise Refusal(400, f"the artifact lacks files: {', '.join(sorted(missing))}")
        if manifest_digest(contents) != artifact.digest:
            raise Refusal(400, "the manifest is another one than the digest of the artifact says")
        ever = [each.version for each in self.all if each.place == artifact.place and each.version is not None]
        artifact.version = max(ever, default=-1) + 1
        artifact.state = "COMMITTED"
        self.alias(artifact, {*artifact.aliases, "latest"})
        return artifact


def manifest_digest(contents: Mapping[str, Any]) -> str:
    """The digest of an artifact, from what is in its manifest."""
    digest = hashlib.md5(b"wandb-artifact-manifest-v1\n", usedforsecurity=False)
    for path in sorted(contents):
        digest.update(f"{path}:{contents[path]['digest']}\n".encode())
    return digest.hexdigest()

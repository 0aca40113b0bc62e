"""Artifacts and their collections as GraphQL tells them."""

from __future__ import annotations

from typing import Any

from peft_studio_wandb.sandbox.artifacts import Artifact, Artifacts
from peft_studio_wandb.sandbox.connections import connection
from peft_studio_wandb.sandbox.run_fields import RunFields
from peft_studio_wandb.sandbox.runs import Project, WandbRun, Workspace, opaque
from peft_studio_wandb.sandbox.storage import show_file

Place = tuple[str, str, str]


class ArtifactFields:
    """What the fields of Artifact and ArtifactCollection answer."""

    def __init__(self, artifacts: Artifacts, workspace: Workspace, runs: RunFields) -> None:
        self._artifacts = artifacts
        self._workspace = workspace
        self._runs = runs
        runs.artifacts_of = self._of_run
        runs.project_more = self._of_project

    def show(self, artifact: Artifact) -> dict[str, Any]:
        """One version."""
        sent = artifact.fields
        return {
            "__typename": "Artifact", "id": artifact.id, "digest": artifact.digest, "digestAlgorithm": "MANIFEST_MD5",
            "artifactSequence": lambda _info: self.collection(artifact.place),
            "artifactType": self._kind(artifact.kind), "versionIndex": artifact.version, "state": artifact.state,
            "description": sent.get("description"), "metadata": sent.get("metadata"),
            "ttlDurationSeconds": sent.get("ttlDurationSeconds") or -1,
            "ttlIsInherited": not sent.get("ttlDurationSeconds"), "historyStep": sent.get("historyStep"),
            "tags": [{"id": tag["tagName"], "name": tag["tagName"]} for tag in sent.get("tags") or ()],
            "createdAt": self._workspace.date(artifact.created), "commitHash": artifact.digest,
            "aliases": [self._alias(artifact, alias) for alias in sorted(artifact.aliases)],
            "createdBy": lambda _info: self._creator(artifact), **self._content(artifact),
        }  # fmt: skip

    def collection(self, place: Place) -> dict[str, Any]:
        """The versions of one name."""
        ever = [artifact for artifact in self._artifacts.all if artifact.place == place]
        versions = self._artifacts.versions(*place)

        def artifacts(info: Any, first: Any = None, after: Any = None, **_: Any) -> Any:
            newest_first = versions[::-1]
            return connection(newest_first, self.show, first, after, version=lambda each: f"v{each.version}")

        return {
            "__typename": "ArtifactSequence", "id": opaque(f"ArtifactCollection:{'/'.join(place)}"), "name": place[2],
            "createdAt": self._workspace.date(ever[0].created), "tags": {"edges": []}, "artifacts": artifacts,
            "project": lambda _info: self._runs.project(self._workspace.projects[place[0], place[1]]),
            "defaultArtifactType": self._kind(ever[0].kind),
            "artifactMembership": lambda _info, aliasName: self.membership(place, aliasName),  # noqa: N803 -- its name
            "latestArtifact": lambda _info: self.show(versions[-1]) if versions else None,
        }  # fmt: skip

    def membership(self, place: Place, alias: str) -> dict[str, Any] | None:
        """A version as a member of its collection."""
        artifact = self._artifacts.find(place[0], place[1], f"{place[2]}:{alias}")
        if artifact is None:
            return None
        return {
            "id": opaque(f"ArtifactCollectionMembership:{artifact.number}"), "versionIndex": artifact.version,
            "createdAt": self._workspace.date(artifact.created), "artifact": lambda _info: self.show(artifact),
            "aliases": [self._alias(artifact, each) for each in sorted(artifact.aliases)],
            "artifactCollection": lambda _info: self.collection(place), "files": self._content(artifact)["files"],
        }  # fmt: skip

    def _content(self, artifact: Artifact) -> dict[str, Any]:
        """Manifest and files; none of it before the commit."""
        if artifact.state != "COMMITTED":
            return {"files": None}
        contents = self._artifacts.contents(artifact)
        key = str(self._artifacts.manifest_key(artifact))
        stored = {path: entry for path, entry in contents.items() if not entry.get("ref")}

        def show(path: str) -> dict[str, Any]:
            file_key = self._artifacts.file_key(artifact, stored[path]["digest"])
            return show_file(self._artifacts.storage, file_key, path, self._workspace.date)

        def files(info: Any, names: Any = None, first: Any = None, after: Any = None) -> Any:
            return connection([path for path in sorted(stored) if not names or path in names], show, first, after)

        def by_entries(info: Any, entries: Any = None, **_: Any) -> Any:
            paths = [entry["name"] for entry in entries or () if entry["name"] in stored]
            return connection(paths, show, len(paths) or 1, None)

        def manifest(info: Any) -> Any:
            name = "wandb_manifest.json"
            return {"id": opaque(key), "file": show_file(self._artifacts.storage, key, name, self._workspace.date)}

        return {
            "size": sum(entry.get("size") or 0 for entry in contents.values()), "fileCount": len(contents),
            "currentManifest": manifest, "files": files, "filesByManifestEntries": by_entries,
        }  # fmt: skip

    def _kind(self, name: str) -> dict[str, Any]:
        return {"id": opaque(f"ArtifactType:{name}"), "name": name}

    def _alias(self, artifact: Artifact, alias: str) -> dict[str, Any]:
        id = opaque(f"ArtifactAlias:{artifact.number}:{alias}")
        return {"id": id, "alias": alias, "artifactCollection": lambda _info: self.collection(artifact.place)}

    def _creator(self, artifact: Artifact) -> dict[str, Any] | None:
        project = self._workspace.projects[artifact.entity, artifact.project]
        run = project.runs.get(artifact.run or "")
        return None if run is None else self._runs.run(run)

    def _of_run(self, run: WandbRun) -> tuple[Any, Any]:
        """Fields for what it wrote and what it used."""
        home = (run.entity, run.project, run.name)
        committed = [artifact for artifact in self._artifacts.all if artifact.state == "COMMITTED"]
        wrote = [each for each in committed if (each.entity, each.project, each.run) == home]
        used = [each for each in committed if each.id in run.used_artifacts]
        return self._listed(wrote), self._listed(used)

    def _listed(self, artifacts: list[Artifact]) -> Any:
        return lambda _info, first=None, after=None: connection(artifacts, self.show, first, after)

    def _of_project(self, project: Project) -> dict[str, Any]:
        """The fields of a project that deal with artifacts."""
        home = (project.entity, project.name)

        def artifact(info: Any, name: str) -> Any:
            found = self._artifacts.find(*home, name)
            return None if found is None else self.show(found)

        def collection(info: Any, name: str) -> Any:
            return self.collection((*home, name)) if self._artifacts.versions(*home, name) else None

        def membership(info: Any, name: str) -> Any:
            collection_name, _, alias = name.partition(":")
            return self.membership((*home, collection_name), alias or "latest")

        return {
            "artifact": artifact, "artifactCollection": collection, "artifactCollectionMembership": membership,
            "artifactType": lambda _info, name: self._type(home, name),
        }  # fmt: skip

    def _type(self, home: tuple[str, str], kind: str) -> dict[str, Any] | None:
        """The collections of a type."""
        places = dict.fromkeys(
            each.place for each in self._artifacts.all
            if (each.entity, each.project) == home and each.kind == kind and each.state == "COMMITTED"
        )  # fmt: skip
        if not places:
            return None

        def one(info: Any, name: str) -> Any:
            return self.collection((*home, name)) if (*home, name) in places else None

        def several(info: Any, first: Any = None, after: Any = None, **_: Any) -> Any:
            return connection(list(places), self.collection, first, after)

        return {**self._kind(kind), "artifactCollection": one, "artifactCollections": several}

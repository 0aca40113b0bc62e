"""What somebody with the key may change; its methods are the fields of Mutation."""

from __future__ import annotations

import json
from typing import Any, Final

from peft_studio_wandb.sandbox.artifacts import Artifact
from peft_studio_wandb.sandbox.connections import connection
from peft_studio_wandb.sandbox.problems import Refusal, permission_denied
from peft_studio_wandb.sandbox.reader import Reader
from peft_studio_wandb.sandbox.run_fields import files_of
from peft_studio_wandb.sandbox.runs import WandbRun

#: Where a run may be moved to, and from which states.
_MOVES: Final = {
    "pending": ("running", "failed", "crashed", "preempted"),
    "failed": ("pending", "running"),
}


class Writer(Reader):
    """The fields of Mutation, beside those of Query."""

    def upsertBucket(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 -- its field
        """Create a run or change it: what is null stays as it is."""
        given = {name: value for name, value in input.items() if value is not None}
        run, inserted = self._known(given.get("id")), False
        if run is None:
            project = self._workspace.open_project(given.get("entityName"), given.get("modelName"))
            run, inserted = self._workspace.open_run(project, given["name"])
        _change(run, given, self._workspace.clock.now())
        return {"bucket": self._runs.run(run), "inserted": inserted}

    def upsertModel(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 -- its field
        """Create a project or describe it."""
        is_new = self._workspace.project(input.get("entityName"), input["name"]) is None
        project = self._workspace.open_project(input.get("entityName"), input["name"])
        project.description = input.get("description") or project.description
        shown = self._runs.project(project)
        return {"project": shown, "model": shown, "inserted": is_new}

    def stopRun(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 -- its field
        """Press Stop."""
        self._run(input["id"]).stopped = True
        return {"success": True}

    def deleteRun(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 -- its field
        """Delete a run for good."""
        self._workspace.delete(self._run(input["id"]))
        return {"clientMutationId": None}

    def updateRunState(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 -- its field
        """Move a run that its client has left."""
        run, wanted = self._run(input["id"]), input["state"]
        state = run.state(self._workspace.clock.now())
        if state not in _MOVES.get(wanted, ()):
            raise Refusal(400, f"a run can not go from {state} to {wanted}")
        run.word, run.exitcode = "running" if wanted == "failed" else wanted, 1 if wanted == "failed" else None
        return {"success": True}

    def createRunFiles(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 -- its field
        """Addresses for the files of a run."""
        run = self._home(input)
        put = self._artifacts.storage.address
        files = [{"id": name, "name": name, "uploadUrl": put("PUT", files_of(run) + name)} for name in input["files"]]
        return {"runID": run.id, "uploadHeaders": [], "files": files}

    def markRunFilesUploaded(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 -- its field
        """Say that files of a run are there, without waking the run."""
        self._home(input).uploaded |= set(input["files"])
        return {"success": True}

    def createArtifact(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 -- its field
        """Begin a version."""
        if self._workspace.project(input["entityName"], input["projectName"]) is None:
            raise permission_denied()
        return {"artifact": self._shown.show(self._artifacts.open(input, self._workspace.clock.now()))}

    def createArtifactManifest(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 -- its field
        """Announce a manifest; the one with a digest is put."""
        id, key = self._artifacts.announce_manifest(self._artifacts.by_id(input["artifactID"]), input["digest"])
        address = self._artifacts.storage.address("PUT", key, input["digest"] or None)
        file = {"id": id, "name": input["name"], "uploadUrl": address, "uploadHeaders": []}
        return {"artifactManifest": {"id": id, "file": file}}

    def createArtifactFiles(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 -- its field
        """Addresses for the files of a version; none for bytes that are there already."""
        wanted = input["artifactFiles"]
        return {"files": connection(wanted, self._upload, len(wanted) or 1, None)}

    def commitArtifact(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 -- its field
        """Make it visible."""
        return {"artifact": self._shown.show(self._artifacts.commit(self._artifact(input)))}

    def useArtifact(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 -- its field
        """A run reads a version."""
        artifact, run = self._artifact(input), self._home(input)
        if artifact.id not in run.used_artifacts:
            run.used_artifacts.append(artifact.id)
        return {"artifact": self._shown.show(artifact)}

    def updateArtifact(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 -- its field
        """Describe a version, or give it other names."""
        artifact = self._artifact(input)
        for name in ("description", "metadata", "ttlDurationSeconds"):
            if input.get(name) is not None:
                artifact.fields[name] = input[name]
        if input.get("aliases") is not None:
            artifact.aliases = set()
            self._artifacts.alias(artifact, {alias["alias"] for alias in input["aliases"]})
        return {"artifact": self._shown.show(artifact)}

    def deleteArtifact(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 -- its field
        """Delete a version; one that has an alias only when told."""
        artifact = self._artifact(input)
        if artifact.aliases and not input.get("deleteAliases"):
            raise Refusal(409, f"cannot delete an artifact that has aliases: {', '.join(sorted(artifact.aliases))}")
        artifact.state, artifact.aliases = "DELETED", set()
        return {"artifact": self._shown.show(artifact)}

    def addAliases(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 -- its field
        """Give a version more names."""
        self._artifacts.alias(self._artifact(input), {alias["alias"] for alias in input["aliases"]})
        return {"success": True}

    def deleteAliases(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 -- its field
        """Take names from a version."""
        self._artifact(input).aliases -= {alias["alias"] for alias in input["aliases"]}
        return {"success": True}

    def _upload(self, wanted: dict[str, Any]) -> dict[str, Any]:
        artifact = self._artifacts.by_id(wanted["artifactID"])
        key = self._artifacts.file_key(artifact, wanted["md5"])
        storage = self._artifacts.storage
        url = None if key in storage.blobs else storage.address("PUT", key, wanted["md5"])
        return {
            "id": key, "name": wanted["name"], "storagePath": key, "uploadUrl": url, "artifact": {"id": artifact.id},
            "uploadHeaders": [f"Content-MD5:{wanted['md5']}"],
        }  # fmt: skip

    def _artifact(self, input: dict[str, Any]) -> Artifact:
        return self._artifacts.by_id(input["artifactID"])

    def _known(self, id: str | None) -> WandbRun | None:
        return None if id is None else self._run(id)

    def _run(self, id: str) -> WandbRun:
        try:
            return self._workspace.run(id)
        except KeyError as error:
            raise Refusal(404, f"run {id} not found") from error

    def _home(self, input: dict[str, Any]) -> WandbRun:
        """The run that a request names by entity, project and name."""
        project = self._workspace.project(input["entityName"], input["projectName"])
        if project is None or input["runName"] not in project.runs:
            raise Refusal(404, f"run {input['runName']} not found")
        return project.runs[input["runName"]]


def _change(run: WandbRun, given: dict[str, Any], now: float) -> None:
    """Take over what was given. The whole config is replaced: the SDK always sends all of it."""
    for name in ("config", "summaryMetrics"):
        if name in given and not isinstance(_parsed(given[name]), dict):
            raise Refusal(400, f"{name} is no JSON object")
    run.config = given.get("config", run.config)
    if "summaryMetrics" in given:
        run.sum_up(given["summaryMetrics"], now)
    run.display_name = given.get("displayName", run.display_name)
    run.word = given.get("state", run.word)
    names = ("description", "notes", "tags", "groupName", "jobType", "commit", "host")
    run.fields |= {name: given[name] for name in names if name in given}


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None

"""What somebody with the key may read; its methods are the fields of Query."""

from __future__ import annotations

from typing import Any

from peft_studio_wandb.sandbox.artifact_fields import ArtifactFields
from peft_studio_wandb.sandbox.artifacts import Artifacts
from peft_studio_wandb.sandbox.connections import connection
from peft_studio_wandb.sandbox.problems import Refusal
from peft_studio_wandb.sandbox.run_fields import RunFields
from peft_studio_wandb.sandbox.runs import Workspace


class Reader:
    """The fields of Query."""

    def __init__(
        self, workspace: Workspace, artifacts: Artifacts, runs: RunFields, shown: ArtifactFields,
        features: dict[str, bool], *, is_known: bool,
    ) -> None:  # fmt: skip
        self._workspace = workspace
        self._artifacts = artifacts
        self._runs = runs
        self._shown = shown
        self._features = features
        self._is_known = is_known

    def viewer(self, info: Any) -> dict[str, Any] | None:
        """Whose key it is; null for a wrong one where the platform is that polite."""
        return self._runs.user() if self._is_known else None

    def serverInfo(self, info: Any) -> dict[str, Any]:  # noqa: N802 -- its field
        """What this server can do."""
        features = [{"name": name, "isEnabled": on} for name, on in self._features.items()]
        return {"features": features, "cliVersionInfo": {}, "latestLocalVersionInfo": None}

    def entity(self, info: Any, name: str) -> dict[str, Any] | None:
        """A user or team of this key."""
        return self._runs.entity(name) if name in self._workspace.entities else None

    def project(
        self, info: Any, name: str | None = None, entityName: str | None = None  # noqa: N803 -- its name
    ) -> dict[str, Any] | None:  # fmt: skip
        """One project; null when there is none, or none for this key."""
        if entityName is None:
            raise Refusal(400, "entityName required for project query")
        return self.model(info, name, entityName)

    def model(
        self, info: Any, name: str | None = None, entityName: str | None = None  # noqa: N803 -- its name
    ) -> dict[str, Any] | None:  # fmt: skip
        """The same by its old name."""
        project = self._workspace.project(entityName, name)
        return None if project is None else self._runs.project(project)

    def models(
        self, info: Any, entityName: str | None = None, first: int | None = None, after: str | None = None  # noqa: N803
    ) -> dict[str, Any]:  # fmt: skip
        """The projects of an entity."""
        entity = entityName or self._workspace.entities[0]
        projects = [project for project in self._workspace.projects.values() if project.entity == entity]
        return connection(projects, self._runs.project, first, after)

    def artifact(self, info: Any, id: str) -> dict[str, Any]:
        """One version."""
        return self._shown.show(self._artifacts.by_id(id))

    def clientIDMapping(self, info: Any, clientID: str) -> dict[str, Any] | None:  # noqa: N802, N803 -- its field
        """The artifact that a client named so."""
        found = (artifact for artifact in self._artifacts.all if artifact.client_id == clientID)
        return next(({"serverID": artifact.id} for artifact in found), None)

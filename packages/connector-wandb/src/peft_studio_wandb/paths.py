"""Where a run or an artifact is: `entity/project/name`, which is all that another process needs to find it."""

from __future__ import annotations

import re
from typing import Any, Final

from attrs import frozen

from peft_studio import InvalidConfig

_FORBIDDEN: Final = ":;,#?/'"


@frozen
class RunPath:
    """A run, as W&B's pages and its public API name it."""

    entity: str
    project: str
    name: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}/{self.name}"

    @property
    def variables(self) -> dict[str, Any]:
        """Of a GraphQL document about it."""
        return {"entity": self.entity, "project": self.project, "run": self.name}

    @property
    def stream(self) -> tuple[str, ...]:
        """The path of its file stream."""
        return ("files", self.entity, self.project, self.name, "file_stream")


@frozen
class ArtifactPath:
    """A version of an artifact."""

    entity: str
    project: str
    collection: str
    #: `v3`, or an alias.
    version: str

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}/{self.collection}:{self.version}"

    @property
    def variables(self) -> dict[str, Any]:
        """Of a GraphQL document about it."""
        name = f"{self.collection}:{self.version}"
        return {"entity": self.entity, "project": self.project, "name": name}


def require_run_name(name: str) -> str:
    """A name that W&B takes for a run. Raises `InvalidConfig`."""
    if not name or name != name.strip() or len(name) > 64 or set(_FORBIDDEN) & set(name):
        remedy = f"use 1 to 64 characters without any of {' '.join(_FORBIDDEN)}"
        raise InvalidConfig(f"{name!r} cannot be the id of a run at W&B", remedy=remedy)
    return name


def collection_name(name: str) -> str:
    """What W&B takes for a collection: letters, digits, dots, dashes and underscores, 128 at most."""
    return re.sub(r"[^\w.-]+", "-", name)[:128] or "adapter"

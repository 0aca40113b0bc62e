"""What the platform knows: tables of records by id. Tests read the truth from them, and seed them with `add`."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from attrs import define, field

Record = TypeVar("Record")


class Table(Mapping[str, Record], Generic[Record]):
    """Records by id, oldest first. Threads may share it."""

    #: Begins the ids that the table makes up.
    prefix = "record"

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._records: dict[str, Record] = {}

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._records = {}

    def __getitem__(self, id: str) -> Record:
        with self._lock:
            return self._records[id]

    def __delitem__(self, id: str) -> None:
        with self._lock:
            del self._records[id]

    def __iter__(self) -> Iterator[str]:
        with self._lock:
            return iter(list(self._records))

    def __len__(self) -> int:
        with self._lock:
            return len(self._records)

    def _free_id(self, wanted: str | None) -> str:
        with self._lock:
            if wanted in self._records:
                raise ValueError(f"there is a {self.prefix} {wanted!r} already")
        return wanted or f"{self.prefix}-{secrets.token_hex(6)}"

    def _put(self, id: str, record: Record) -> Record:
        with self._lock:
            self._records[id] = record
        return record


@define
class Model:
    """A model or adapter in the platform's registry."""

    id: str
    name: str
    files: dict[str, bytes] = field(factory=dict)
    metadata: dict[str, Any] = field(factory=dict)
    tags: tuple[str, ...] = ()
    base_model: str | None = None


class ModelTable(Table[Model]):
    """The registry."""

    prefix = "model"

    def add(
        self,
        name: str,
        *,
        id: str | None = None,
        files: Mapping[str, bytes] | None = None,
        metadata: Mapping[str, Any] | None = None,
        tags: Iterable[str] = (),
        base_model: str | None = None,
    ) -> Model:
        """Keep a model."""
        new = Model(
            id=self._free_id(id),
            name=name,
            files=dict(files or {}),
            metadata=dict(metadata or {}),
            tags=tuple(tags),
            base_model=base_model,
        )
        return self._put(new.id, new)


@define
class Run:
    """A run at a tracker."""

    id: str
    config: dict[str, Any]
    #: (step, values), in the order in which they came.
    metrics: list[tuple[int, dict[str, float]]] = field(factory=list)
    text: list[str] = field(factory=list)
    status: str = "running"
    artifacts: dict[str, bytes] = field(factory=dict)


class RunTable(Table[Run]):
    """The tracker."""

    prefix = "run"

    def add(self, config: Mapping[str, Any] | None = None, *, id: str | None = None) -> Run:
        """Open a run."""
        new = Run(self._free_id(id), dict(config or {}))
        return self._put(new.id, new)


@define
class Deployment:
    """An endpoint that serves a model."""

    id: str
    model_id: str
    status: str = "ready"
    url: str | None = None
    #: What it was asked, in order.
    invocations: list[Any] = field(factory=list)


class DeploymentTable(Table[Deployment]):
    """The endpoints."""

    prefix = "deployment"

    def add(self, model_id: str, *, id: str | None = None, status: str = "ready", url: str | None = None) -> Deployment:
        """Serve a model."""
        new = Deployment(self._free_id(id), model_id, status, url)
        return self._put(new.id, new)

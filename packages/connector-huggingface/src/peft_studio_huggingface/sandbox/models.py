"""The Hub's repositories as the models of any sandbox: what checks for every registry seed and read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from peft_studio_huggingface.sandbox import documents
from peft_studio_huggingface.sandbox.accounts import OWNER
from peft_studio_huggingface.sandbox.hub import Hub
from peft_studio_testkit.sandbox import ModelTable
from peft_studio_testkit.sandbox.tables import Model


class HubModels(ModelTable):
    """A view of the hub: nothing is kept here."""

    def __init__(self, hub: Hub) -> None:
        super().__init__()
        self._hub = hub

    def clear(self) -> None:
        """Forget every repository."""
        self._hub.clear()

    def __getitem__(self, id: str) -> Model:
        repository = self._hub[id]
        card = documents.card_of(self._hub, repository.head)
        paths = [path for path in repository.head.files if path != ".gitattributes"]  # the Hub's own
        files = {path: self._hub.read(id, path) for path in paths}
        tags = tuple(card.get("tags") or ())
        name = id.rpartition("/")[2]
        return Model(id=id, name=name, files=files, metadata=card, tags=tags, base_model=card.get("base_model"))

    def __delitem__(self, id: str) -> None:
        self._hub.delete(id)

    def __iter__(self) -> Iterator[str]:
        return iter(self._hub)

    def __len__(self) -> int:
        return len(self._hub)

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
        """Seed a repository; what is to be known of it stands in its README, the only place that the Hub has for it."""
        known = {**(metadata or {}), **({"tags": list(tags)} if tags else {})}
        known |= {"base_model": base_model} if base_model else {}
        header = "".join(f"{key}: {json.dumps(value)}\n" for key, value in known.items())
        readme = {"README.md": f"---\n{header}---\n".encode()} if known else {}
        repository = self._hub.add(id or f"{OWNER}/{name}", {**readme, **(files or {})})
        return self[repository.id]

"""No secret in the queue: which values are known to be secret, and the refusal of a payload that holds one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from attrs import define

from peft_studio.errors import InvalidConfig
from peft_studio.queue.operation import NewOperation
from peft_studio.redaction import Mask
from peft_studio.redaction import mask as in_use


def environment_secrets() -> set[str]:
    """Values of the environment variables in which installed connectors keep secrets. Imports no connector."""
    from peft_studio.registry import ConnectorRegistry

    manifests = [record.manifest for record in ConnectorRegistry().list() if record.manifest is not None]
    fields = [field for manifest in manifests for field in manifest.credentials if field.secret and field.env]
    return {value for field in fields if (value := os.environ.get(str(field.env)))}


@define
class Guard:
    """Knows secrets by their values: those that `known_secrets` gives, and those that this process uses."""

    known_secrets: Callable[[], Iterable[str]]
    _known: Mask | None = None

    def refuse(self, new: NewOperation, payload: str) -> None:
        """Raise `InvalidConfig`, with the place and never the value, when there is a secret in what would be stored."""
        stored = f"{payload} {new.key} {new.stream}"
        if self.masked(stored) == stored:
            return
        for place, text in _texts({"payload": new.payload, "key": new.key, "stream": new.stream}):
            if self.masked(text) != text:
                raise InvalidConfig(
                    f"a {new.kind} for {new.connector} cannot be queued: {self.masked(place)} holds a secret",
                    remedy="leave it out: credentials are looked up when the operation is carried out",
                )

    def masked(self, text: str) -> str:
        """The text with every secret replaced."""
        if self._known is None:
            self._known = Mask(self.known_secrets())
        return in_use(self._known(text))


def _texts(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Every text in there, keys too, each with its place."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            inner = f"{place}.{key}" if place else str(key)
            yield inner, str(key)
            yield from _texts(item, inner)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _texts(item, f"{place}[{number}]")
    else:
        yield place, str(value)

"""Where a model is kept: `huggingface:me/my-adapter`, a connector and that registry's own name for the model."""

from __future__ import annotations

import re
from typing import Final, Self

from attrs import frozen

from peft_studio.errors import InvalidConfig

#: One letter before the colon is a drive of Windows.
_FORM: Final = re.compile(r"([a-z0-9][\w-]+):(?!/)(\S+)")
EXAMPLE: Final = "huggingface:me/my-adapter"


@frozen
class ModelAddress:
    """A model or adapter in a registry."""

    connector: str
    #: As the registry writes it; some know revisions, such as `me/my-adapter@main`.
    model_id: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `CONNECTOR:MODEL`. Raises `InvalidConfig`."""
        if not is_address(text):
            raise InvalidConfig(f"{text!r} says no place in a registry", remedy=f"write it like {EXAMPLE}")
        connector, _, model_id = text.partition(":")
        return cls(connector, model_id)

    @property
    def metadata(self) -> dict[str, str]:
        """What tells `upload_artifact` where to: `repo_id` for registries that know owners, `name` for all others."""
        return {"repo_id": self.model_id, "name": self.name}

    @property
    def name(self) -> str:
        """The model's own name, without owner and revision."""
        return self.model_id.partition("@")[0].rpartition("/")[2]

    def __str__(self) -> str:
        return f"{self.connector}:{self.model_id}"


def is_address(text: str) -> bool:
    """True for what `ModelAddress.parse` can read."""
    return _FORM.fullmatch(text) is not None

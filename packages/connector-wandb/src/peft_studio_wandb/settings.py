"""What the user may choose: where the server is, and whose project runs go to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Self

from attrs import frozen

from peft_studio import InvalidConfig

BASE_URL: Final = "https://api.wandb.ai"
PROJECT: Final = "peft-studio"
_FORBIDDEN: Final = "/\\#?%:"


@frozen(kw_only=True)
class Settings:
    """The user's choices, with the defaults."""

    #: None for the key's default entity.
    entity: str | None = None
    project: str = PROJECT
    base_url: str = BASE_URL

    @property
    def page(self) -> str:
        """Where people look at runs: W&B's own service has another address for that."""
        return "https://wandb.ai" if self.base_url == BASE_URL else self.base_url.rstrip("/")

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Self:
        """From what `connect` was given; an empty text is as good as none. Raises `InvalidConfig`."""
        given = {name: (values.get(name) or "").strip() for name in ("entity", "project", "base_url")}
        settings = cls(**{name: value for name, value in given.items() if value})
        require_project(settings.project)
        return settings


def require_project(name: str) -> str:
    """A name that W&B takes for a project. Raises `InvalidConfig`."""
    if not name.strip() or len(name) > 128 or set(_FORBIDDEN) & set(name):
        remedy = f"use 1 to 128 characters without any of {' '.join(_FORBIDDEN)}"
        raise InvalidConfig(f"{name!r} cannot be a project at W&B", remedy=remedy)
    return name

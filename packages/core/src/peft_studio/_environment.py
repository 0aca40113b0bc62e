"""An environment as the doctor looks at it: each part is read once, and nothing of it is imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cached_property

from attrs import define

from peft_studio import _metadata
from peft_studio._metadata import Installed, normalized
from peft_studio._seen import SeenPlugins
from peft_studio.discovery import Candidate, scan
from peft_studio.errors import InvalidConfig
from peft_studio.policy import Policy, sources
from peft_studio.records import Plugin
from peft_studio.registry import ConnectorRegistry


@define(slots=False)
class Environment:
    """What is installed in the directories of `path`, None for all of sys.path."""

    path: list[str] | None

    @cached_property
    def torn_settings(self) -> InvalidConfig | None:
        """Why settings.toml cannot be read, if it cannot."""
        try:
            sources()
        except InvalidConfig as error:
            return error
        return None

    @cached_property
    def policy(self) -> Policy:
        """The user's policy; none while it cannot be read, which is harmless where nothing is imported."""
        return Policy.load() if self.torn_settings is None else Policy()

    @cached_property
    def claims(self) -> dict[str, tuple[Candidate, ...]]:
        """Who claims which name."""
        return scan(self.path)

    @cached_property
    def plugins(self) -> list[Plugin]:
        """Every claim as a plugin."""
        return [candidate.plugin for candidates in self.claims.values() for candidate in candidates]

    @cached_property
    def allowed(self) -> list[Plugin]:
        """Without those that policy keeps out: what is wrong with them stops nobody."""
        return [plugin for plugin in self.plugins if self.policy.refusal(plugin) is None]

    @cached_property
    def registry(self) -> ConnectorRegistry:
        """What a list would show."""
        return ConnectorRegistry(self.path, self.policy)

    @cached_property
    def installed(self) -> list[Installed]:
        """Every metadata folder."""
        return _metadata.installed(None if self.path is None else [*self.path, *sys.path])

    @cached_property
    def distributions(self) -> dict[str, Installed]:
        """What counts as installed, by normalized name."""
        return {entry.key: entry for entry in reversed(self.installed)}

    @cached_property
    def seen(self) -> SeenPlugins:
        """The plugins that were here before."""
        return SeenPlugins()

    def of_plugins(self) -> Iterator[tuple[Installed, list[Plugin]]]:
        """Each distribution that delivers plugins which may be used, with these."""
        for key in dict.fromkeys(normalized(plugin.distribution) for plugin in self.allowed):
            if key in self.distributions:
                owned = [plugin for plugin in self.allowed if normalized(plugin.distribution) == key]
                yield self.distributions[key], owned

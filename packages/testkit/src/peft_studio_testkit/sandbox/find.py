"""Finds the sandbox of a connector: an entry point of its distribution, under the user's policy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import Distribution, distributions
from typing import TYPE_CHECKING, Any, Final

from peft_studio.errors import BrokenConnector, ConnectorNotFound, UnsupportedCapability
from peft_studio.policy import Policy
from peft_studio.records import Finding, Plugin
from peft_studio.registry import ConnectorRegistry

if TYPE_CHECKING:
    from peft_studio_testkit.sandbox.base import Sandbox

GROUP: Final = "peft_studio.sandboxes"


def sandbox_plugins() -> dict[str, list[Plugin]]:
    """Who ships a sandbox, by connector name. Imports nothing of theirs."""
    found: dict[str, list[Plugin]] = {}
    for plugin in _entry_points():
        found.setdefault(plugin.name, []).append(plugin)
    return dict(sorted(found.items()))


def find_sandbox(name: str) -> type[Sandbox]:
    """The sandbox class of the connector `name`, imported if the policy lets it be.

    Raises `ConnectorNotFound`, `UnsupportedCapability` for a connector without a sandbox, and `BrokenConnector` for a
    sandbox that may not or cannot be used.
    """
    plugins = sandbox_plugins()
    registry = ConnectorRegistry()
    if name not in plugins:
        registry.describe(name)  # an unknown name is told from a connector without a sandbox
        known = f"those with one: {', '.join(plugins)}" if plugins else "no installed connector does"
        raise UnsupportedCapability(f"the connector {name!r} ships no sandbox", why=known)
    policy = Policy.load()
    plugin = policy.choose(name, plugins[name])
    if isinstance(plugin, Finding):
        raise _refused(f"the sandbox of {name} cannot be used", plugin)
    refusal = policy.refusal(plugin, is_enabled=_is_enabled(registry, name))
    if refusal is not None:
        raise _refused(f"the sandbox of {plugin.label} was not imported", refusal)
    return _class(plugin, _load(plugin))


def _is_enabled(registry: ConnectorRegistry, name: str) -> bool:
    """What the connector's connector.json says; a sandbox may come without its connector."""
    try:
        manifest = registry.describe(name).manifest
    except ConnectorNotFound:
        return True
    return manifest is None or manifest.enabled


def _entry_points() -> Iterator[Plugin]:
    seen: set[str] = set()
    for distribution in distributions():
        owner = distribution.metadata["Name"] or ""
        key = re.sub(r"[-_.]+", "-", owner).lower()
        if key not in seen:  # the first on the path is the one that Python imports
            yield from (
                _plugin(distribution, entry.name, entry.value)
                for entry in distribution.entry_points.select(group=GROUP)
            )
        seen.add(key)


def _plugin(distribution: Distribution, name: str, value: str) -> Plugin:
    return Plugin(name=name, value=value, distribution=distribution.metadata["Name"], version=distribution.version)


def _load(plugin: Plugin) -> Any:
    module, _, path = plugin.value.partition(":")
    try:
        value: Any = import_module(module)
        for attribute in filter(None, path.split(".")):
            value = getattr(value, attribute)
    except Exception as error:  # third-party code may raise anything
        why = f"importing {plugin.value} raised {type(error).__name__}: {error}"
        raise _broken(plugin, why, f"report it to the author of {plugin.distribution}") from error
    return value


def _class(plugin: Plugin, value: Any) -> type[Sandbox]:
    from peft_studio_testkit.sandbox.base import Sandbox

    if isinstance(value, type) and issubclass(value, Sandbox):
        return value
    remedy = f"the entry point must name a subclass of Sandbox, such as {plugin.package}.sandbox:ThisSandbox"
    raise _broken(plugin, f"{plugin.value} is no Sandbox class", remedy)


def _broken(plugin: Plugin, why: str, remedy: str) -> BrokenConnector:
    return BrokenConnector(f"the sandbox of {plugin.label} cannot be used", why=why, remedy=remedy)


def _refused(what: str, finding: Finding) -> BrokenConnector:
    return BrokenConnector(what, why=finding.message, remedy=finding.remedy)

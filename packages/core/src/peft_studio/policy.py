"""Who may be imported: allow, deny and pin, decided by the user before any third-party code runs.

Three sources, strongest first: arguments of an embedding program, the environment, the user's settings.toml. A stronger
source replaces a weaker allow list; a deny counts wherever it stands.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from attrs import field, frozen

from peft_studio import paths
from peft_studio._metadata import normalized
from peft_studio.errors import InvalidConfig
from peft_studio.records import Finding, Plugin, Stage

ALLOW_VARIABLE = "PEFT_STUDIO_PLUGINS"
DENY_VARIABLE = "PEFT_STUDIO_PLUGINS_DENY"
SETTINGS = "settings.toml"

#: Stands in the allow list's place for "nobody".
NONE = "none"


def _names(value: Iterable[str]) -> frozenset[str]:
    return frozenset(value)


def _pins(value: Mapping[str, str]) -> dict[str, str]:
    return dict(value)


def _optional_names(value: Iterable[str] | None) -> frozenset[str] | None:
    return None if value is None else frozenset(value)


@frozen(kw_only=True)
class Source:
    """One place that policy comes from: what it says, and where that can be changed."""

    where: str
    is_file: bool = False
    allow: frozenset[str] | None = field(default=None, converter=_optional_names)
    deny: frozenset[str] = field(default=frozenset(), converter=_names)
    pin: Mapping[str, str] = field(factory=dict, converter=_pins)

    @property
    def allow_list(self) -> str:
        """What to add a name to, so that it is allowed."""
        return f"[plugins] allow in {self.where}" if self.is_file else self.where


def sources(settings: Path | None = None) -> list[Source]:
    """What the environment and settings.toml say, strongest first. Raises `InvalidConfig`."""
    file = settings_file() if settings is None else settings
    return [
        Source(where=ALLOW_VARIABLE, allow=_from_environment(ALLOW_VARIABLE)),
        Source(where=DENY_VARIABLE, deny=_from_environment(DENY_VARIABLE) or ()),
        Source(where=str(file), is_file=True, **read_settings(file)),
    ]


def settings_file() -> Path:
    """The user's settings.toml, whether it exists or not."""
    return paths.config_dir() / SETTINGS


@frozen(kw_only=True)
class Policy:
    """Names of connectors or of distributions. `allow` None lets everybody in who is not denied."""

    allow: frozenset[str] | None = field(default=None, converter=_optional_names)
    deny: frozenset[str] = field(default=frozenset(), converter=_names)
    #: Connector name -> the distribution that it belongs to.
    pin: Mapping[str, str] = field(factory=dict, converter=_pins)
    #: What to change so that a name gets in; part of the remedy.
    allow_source: str = "the allow list"

    @classmethod
    def load(
        cls,
        *,
        allow: Iterable[str] | None = None,
        deny: Iterable[str] = (),
        pin: Mapping[str, str] | None = None,
        settings: Path | None = None,
    ) -> Self:
        """The policy of this user: arguments, then environment, then settings.toml. Raises `InvalidConfig`."""
        given = Source(where="the argument allow", allow=allow, deny=deny, pin=pin or {})
        all_sources = [given, *sources(settings)]
        allowing = next((source for source in all_sources if source.allow is not None), None)
        return cls(
            allow=None if allowing is None else allowing.allow,
            deny={name for source in all_sources for name in source.deny},
            pin={name: owner for source in reversed(all_sources) for name, owner in source.pin.items()},
            allow_source="the allow list" if allowing is None else allowing.allow_list,
        )

    def refusal(self, plugin: Plugin, *, is_enabled: bool = True) -> Finding | None:
        """Why this plugin may not be imported; None when it may. `is_enabled` is what its manifest says."""
        denied = _meant(self.deny, plugin)
        if denied:
            name = min(denied)
            return _finding(
                f"{name} is denied", f"take {name} out of {DENY_VARIABLE} and of [plugins] deny in {SETTINGS}"
            )
        is_named = self.allow is not None and bool(_meant(self.allow, plugin))
        if self.allow is not None and not is_named:
            return _finding(f"{plugin.name} is not allowed", f"add {plugin.name} to {self.allow_source}")
        if not is_enabled and not is_named and plugin.name not in self.pin:
            return _finding(f"{plugin.name} is shipped switched off", self._pin_remedy(plugin.name, [plugin]))
        return None

    def choose(self, name: str, claimants: Iterable[Plugin]) -> Plugin | Finding:
        """The one plugin that may use `name`, or why there is none."""
        plugins = list(claimants)
        wanted = self.pin.get(name)
        if wanted is None and len(plugins) == 1:
            return plugins[0]
        owners = " and ".join(plugin.origin for plugin in plugins)
        if wanted is None:
            return _finding(f"the name {name} is claimed by {owners}", self._pin_remedy(name, plugins), Stage.DISCOVERY)
        for plugin in plugins:
            if normalized(plugin.distribution) == normalized(wanted):
                return plugin
        remedy = f"pip install {wanted}, or change [plugins.pin] in {SETTINGS}"
        return _finding(f"the name {name} is pinned to {wanted}, but belongs to {owners}", remedy)

    @staticmethod
    def _pin_remedy(name: str, plugins: list[Plugin]) -> str:
        remedy = f"peft-studio connectors pin {name} {plugins[0].distribution}"
        return remedy if len(plugins) == 1 else f"{remedy}, or uninstall all but one"


def means(name: str, plugin: Plugin) -> bool:
    """True when somebody who writes `name` means this plugin: its own name, or its distribution's in any spelling."""
    return name == plugin.name or normalized(name) == normalized(plugin.distribution)


def _meant(names: frozenset[str], plugin: Plugin) -> set[str]:
    return {name for name in names if means(name, plugin)}


def _finding(message: str, remedy: str, stage: Stage = Stage.POLICY) -> Finding:
    return Finding(stage=stage, message=message, remedy=remedy)


def _from_environment(variable: str) -> frozenset[str] | None:
    """Names separated by commas. Unset and empty are the same; `none` is the empty list."""
    text = os.environ.get(variable, "").strip()
    if not text:
        return None
    return frozenset(name.strip() for name in text.split(",") if name.strip()) - {NONE}


def read_settings(file: Path) -> Mapping[str, Any]:
    """The [plugins] table of settings.toml; nothing when there is no file."""
    data = read_bytes(file)
    return {} if data is None else parse_settings(data, file)


def read_bytes(file: Path) -> bytes | None:
    """What settings.toml holds, or None when there is none."""
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        remedy = "mend its permissions: it may forbid plugins"
        raise InvalidConfig(f"{file} cannot be read", why=error.strerror, remedy=remedy) from error


def parse_settings(data: bytes, file: Path) -> Mapping[str, Any]:
    """The [plugins] table in what `file` holds; raises `InvalidConfig` for anything that is not understood."""
    import tomllib

    try:
        plugins = tomllib.loads(data.decode("utf-8")).get("plugins", {})
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidConfig(f"{file} cannot be read", why=str(error), remedy="mend the file at that place") from error
    return _checked(plugins, file)


def _checked(plugins: Any, file: Path) -> Mapping[str, Any]:
    if not isinstance(plugins, dict):
        raise InvalidConfig(f"{file}: plugins must be a table", remedy="write [plugins] on a line of its own")
    expected = {"allow": _is_names, "deny": _is_names, "pin": _is_pins}
    for key, value in plugins.items():
        if key not in expected:
            raise InvalidConfig(
                f"{file}: plugins.{key} is not a setting", remedy="the settings are allow, deny and pin"
            )
        if not expected[key](value):
            example = 'runpod = "peft-studio-runpod"' if key == "pin" else f'{key} = ["runpod"]'
            raise InvalidConfig(f"{file}: plugins.{key} has the wrong form", remedy=f"write it like this: {example}")
    return plugins


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_pins(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(owner, str) for owner in value.values())

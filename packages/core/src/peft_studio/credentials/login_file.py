"""The file in which a platform's own program keeps its login: read, never written.

Whatever is wrong with it is told by its line and never by its words: they may be the secret.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from configparser import ConfigParser
from configparser import Error as IniError
from pathlib import Path
from typing import Any

from attrs import frozen

from peft_studio.errors import PeftStudioError
from peft_studio.manifest import WHOLE_FILE, LoginFile

_LARGEST = 1 << 20


class LoginFileUnusable(PeftStudioError):
    """The file is there, and what is looked for cannot be read from it."""


@frozen
class PlatformLogin:
    """The login file of one connector, as its connector.json describes it."""

    description: LoginFile

    @property
    def path(self) -> Path | None:
        """The file that counts now, which may not exist: what the variable names, else the first that there is.

        A path with a variable in it counts if the variable is set, and then the ones behind it do not: it was moved.
        """
        moved = os.environ.get(self.description.env or "")
        if moved:
            return Path(moved).expanduser()
        for pattern in self.description.path:
            path = Path(os.path.expandvars(pattern)).expanduser()
            if "$" not in pattern and path.exists():
                return path
            if "$" in pattern and "$" not in str(path):
                return path
        return None

    def get(self, field: str) -> str | None:
        """The field's value; None without the file or without the field. Raises `LoginFileUnusable`."""
        key, path = self.description.keys.get(field), self.path
        if key is None or path is None or not path.is_file():
            return None
        value = _look_up(_parsed(path, self.description.format), key)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise LoginFileUnusable(f"{path}: {key} is a {type(value).__name__}, not a text")
        return value


def _parsed(path: Path, format: str) -> Mapping[str, Any]:
    content = _read(path)
    try:
        document = _from_netrc(path) if format == "netrc" else _FORMATS[format](content)
    except _faults() as error:
        raise LoginFileUnusable(f"{path} is not {format}{_place_of(error)}") from None
    if not isinstance(document, Mapping):
        raise LoginFileUnusable(f"{path} holds no names and values")
    return document


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > _LARGEST:
            raise LoginFileUnusable(f"{path} is larger than a login file can be")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise LoginFileUnusable(f"{path} is not UTF-8") from None
    except OSError as error:
        raise LoginFileUnusable(f"{path} cannot be read", why=error.strerror) from None


def _look_up(tree: Any, key: str) -> Any:
    """What stands at a dotted key; names may have dots of their own, such as hosts."""
    if not isinstance(tree, Mapping):
        return None
    if key in tree:
        return tree[key]
    cuts = [position for position, letter in enumerate(key) if letter == "."]
    found = (_look_up(tree.get(key[:cut]), key[cut + 1 :]) for cut in reversed(cuts))
    return next((value for value in found if value is not None), None)


def _from_toml(content: str) -> Any:
    import tomllib

    return tomllib.loads(content)


def _from_yaml(content: str) -> Any:
    import yaml

    return yaml.safe_load(content)


def _from_ini(content: str) -> Mapping[str, Any]:
    """Sections by their names; what stands before the first one, by itself."""
    parser = ConfigParser(interpolation=None, strict=False)
    parser.read_string(f"[{parser.default_section}]\n{content}")
    return {**parser.defaults(), **{name: dict(parser[name]) for name in parser.sections()}}


def _from_netrc(path: Path) -> Mapping[str, Any]:
    """Hosts, each with login, account and password."""
    import netrc

    hosts = netrc.netrc(str(path)).hosts
    return {host: dict(zip(("login", "account", "password"), entry, strict=True)) for host, entry in hosts.items()}


_FORMATS: Mapping[str, Callable[[str], Any]] = {
    "text": lambda content: {WHOLE_FILE: content.strip()},
    "json": json.loads,
    "toml": _from_toml,
    "yaml": _from_yaml,
    "ini": _from_ini,
}


def _faults() -> tuple[type[Exception], ...]:
    """What the readers raise."""
    import netrc

    import yaml

    return (ValueError, RecursionError, IniError, netrc.NetrcParseError, yaml.YAMLError)


def _place_of(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    line = mark.line + 1 if mark is not None else getattr(error, "lineno", None)
    if line is None:
        found = re.search(r"\bline:? (\d+)", str(error))
        line = found and int(found[1])
    return f": line {line}" if line else ""

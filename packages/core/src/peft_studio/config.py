"""Read a `TrainingConfig` from TOML, YAML or JSON; every fault is told with its file, line and field."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from peft_studio.errors import InvalidConfig
from peft_studio.models import Problem
from peft_studio.training_config import TrainingConfig

#: Fields whose relative paths are meant from the config file's own folder.
_PATH_FIELDS = ("dataset_path", "output_dir")


def load_config(path: str | Path, overrides: Mapping[str, Any] | None = None) -> TrainingConfig:
    """The config in `path`, with `overrides` laid over it. Raises `InvalidConfig`.

    Relative paths in the file are taken from the file's folder, those in `overrides` from the current one.
    """
    file = Path(path)
    text = _read(file)
    values = {key: _from_folder(key, value, file.parent) for key, value in _parse(file, text).items()}
    try:
        return TrainingConfig.from_dict({**values, **(overrides or {})})
    except InvalidConfig as error:
        located = [_located(problem, file, text, overrides or {}) for problem in error.problems]
        raise InvalidConfig.from_problems("config", located) from None


def parse_override(assignment: str) -> tuple[str, Any]:
    """`rank=16` as ("rank", 16): the value is read as TOML where it can be, else as the text it is."""
    key, equals, value = assignment.partition("=")
    if not equals or not key.strip():
        raise InvalidConfig(f"--set takes NAME=VALUE, not {assignment!r}")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InvalidConfig(f"config file {file} does not exist") from None
    except UnicodeDecodeError as error:
        line = file.read_bytes()[: error.start].count(b"\n") + 1
        raise InvalidConfig(f"{file}: line {line}: not UTF-8", remedy="save the file as UTF-8") from None
    except OSError as error:
        raise InvalidConfig(f"config file {file} cannot be read", why=error.strerror) from error


def _parse(file: Path, text: str) -> dict[str, Any]:
    kind = file.suffix.lower()
    if kind == ".toml":
        values = _parse_toml(file, text)
    elif kind == ".json":
        values = _parse_json(file, text)
    elif kind in (".yaml", ".yml"):
        values = _parse_yaml(file, text)
    else:
        raise InvalidConfig(f"{file}: a config is a .toml, .yaml or .json file")
    if not isinstance(values, dict):
        raise InvalidConfig(f"{file}: a config is a table of names and values, not a {type(values).__name__}")
    return values


def _parse_toml(file: Path, text: str) -> Any:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfig(f"{file}: not valid TOML", why=str(error)) from None


def _parse_json(file: Path, text: str) -> Any:
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _once(file, pairs))
    except json.JSONDecodeError as error:
        raise InvalidConfig(f"{file}: line {error.lineno}: not valid JSON", why=error.msg) from None


def _parse_yaml(file: Path, text: str) -> Any:
    import yaml

    try:
        return yaml.load(text, Loader=_yaml_loader())  # noqa: S506 -- a SafeLoader with two mends
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        raise InvalidConfig(f"{file}: {line}not valid YAML", why=error.problem) from None


def _yaml_loader() -> Any:
    """PyYAML's safe loader with two mends: 2e-4 is a number as in YAML 1.2, and a key given twice is refused."""
    import yaml

    class Loader(yaml.SafeLoader):
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            for position, key in enumerate(keys):
                if key in keys[:position]:
                    mark = node.value[position][0].start_mark
                    raise yaml.constructor.ConstructorError(None, None, f"{key!r} is given twice", mark)
            return super().construct_mapping(node, deep)

    number = re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+.0123456789"))
    return Loader


def _once(file: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise InvalidConfig(f"{file}: {key!r} is given twice")
        values[key] = value
    return values


def _from_folder(key: str, value: Any, folder: Path) -> Any:
    is_path = key in _PATH_FIELDS or (key == "base_model" and str(value).startswith((".", "~")))
    if not is_path or not isinstance(value, str) or not value:
        return value
    return os.path.normpath(folder.absolute() / Path(value).expanduser())


def _located(problem: Problem, file: Path, text: str, overrides: Mapping[str, Any]) -> Problem:
    if problem.field is None or problem.field in overrides:
        return problem
    return attrs.evolve(problem, file=file, line=_line_of(problem.field, text))


def _line_of(key: str, text: str) -> int | None:
    """The line that gives `key` its value: bare or quoted, before "=" or ":"."""
    found = re.search(rf"""(?:^|[{{,])[ \t]*["']?{re.escape(key)}["']?\s*[=:]""", text, re.MULTILINE)
    return None if found is None else text.count("\n", 0, found.end()) + 1

"""connector.json: what a connector is, readable without importing it.

It lies beside the `__init__.py` of the plugin's top-level package and is read through that package's loader, so that a
wheel, an editable install and a zip file all work. Field rules and help texts live on the attrs fields; the reference
page is checked against them. An unknown key is only a warning: it may come from a newer version.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import attrs
from attrs import frozen

from peft_studio._settings import choice, complaints, flag, integer, names, text
from peft_studio.records import FEATURES, Finding, Severity, Stage

FILE_NAME = "connector.json"

#: Version of the plugin interface: core's major version. It rises only when old plugins cannot follow.
API_VERSION = 0

LOGIN_FORMATS = ("text", "json", "toml", "yaml", "ini", "netrc")
#: What stands in `keys` for a file that holds one value and no names.
WHOLE_FILE = "."

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def _each(kind: type, *, help: str) -> Any:
    """A list of objects of one kind."""
    return attrs.field(default=(), metadata={"help": help, "each": kind, "rule": _accept, "is_optional": False})


def _accept(value: Any) -> None:
    """Nothing to add: the parts have been checked one by one."""


def _limits(value: Any) -> str | None:
    """rate_limits: any names, each with a positive number."""
    numbers = isinstance(value, Mapping) and all(
        isinstance(limit, int | float) and not isinstance(limit, bool) and limit > 0 for limit in value.values()
    )
    return None if numbers else 'must be an object of positive numbers, such as {"requests_per_minute": 60}'


def _keys(value: Any) -> str | None:
    """login_file.keys: fields, and where each stands in the file."""
    names = isinstance(value, Mapping) and all(isinstance(key, str) and key for pair in value.items() for key in pair)
    return None if names and value else 'must be an object of names, such as {"api_key": "default.api_key"}'


def _address(value: Any) -> str | None:
    is_address = isinstance(value, str) and value.startswith(("https://", "http://"))
    return None if is_address else "must be an address that starts with https://"


@frozen(kw_only=True)
class Credential:
    """One thing that `connect` needs to know."""

    key: str = text(help="key in the dictionary given to `connect`")
    display_name: str | None = text(None, help="what to call it when asking for it")
    description: str | None = text(None, help="where to get it")
    required: bool = flag(True, help="`connect` cannot do without it")
    secret: bool = flag(True, help="never shown")
    env: str | None = text(None, help="environment variable that holds it")


@frozen(kw_only=True)
class Setting:
    """One thing that the user may choose and that is no secret, such as a region."""

    key: str = text(help="key in the dictionary given to `connect`")
    display_name: str | None = text(None, help="what to call it when asking for it")
    description: str | None = text(None, help="what it does, and its default")
    env: str | None = text(None, help="environment variable that holds it")


@frozen(kw_only=True)
class LoginFile:
    """The file in which the platform's own program keeps its login. It is read, never written."""

    path: tuple[str, ...] = names(
        attrs.NOTHING, single=True, help="where it is, or a list of places; `~` and variables such as `$HOME` are known"
    )
    env: str | None = text(None, help="environment variable that names another file in its place")
    format: str = choice(LOGIN_FORMATS, attrs.NOTHING, help="how it is written")
    keys: Mapping[str, str] = attrs.field(
        metadata={
            "help": "credential → where it stands: names joined by dots; `.` for the whole text",
            "rule": _keys,
            "is_optional": False,
        }
    )


@frozen(kw_only=True)
class Features:
    """What the connector does; each equals the `supports_…` flag of its class."""

    training: bool = flag(False, help="runs fine-tuning jobs")
    inference: bool = flag(False, help="serves models")
    registry: bool = flag(False, help="keeps models and adapters")
    tracking: bool = flag(False, help="records runs")

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are true."""
        return tuple(feature for feature in FEATURES if getattr(self, feature))


@frozen(kw_only=True)
class Command:
    """A command that the plugin adds through `peft_studio_cli`."""

    name: str = text(help="word that the user types after `peft-studio`")
    help: str = text(help="line shown by `peft-studio --help`")


@frozen(kw_only=True)
class Manifest:
    """The whole of connector.json."""

    name: str = text(help="the connector's name; equals the entry point's")
    display_name: str = text(help="the platform's name as it writes it")
    description: str = text(help="one line")
    enabled: bool = flag(True, help="false ships the plugin switched off, until a user allows it by name")
    credentials: tuple[Credential, ...] = _each(Credential, help="what `connect` needs")
    settings: tuple[Setting, ...] = _each(Setting, help="what the user may choose")
    login_file: LoginFile | None = attrs.field(
        default=None,
        metadata={"help": "the platform's own login file", "one": LoginFile, "rule": _accept, "is_optional": True},
    )
    features: Features = attrs.field(
        factory=Features, metadata={"help": "what it does", "one": Features, "rule": _accept, "is_optional": False}
    )
    documentation_url: str | None = attrs.field(
        default=None, metadata={"help": "page of the connector or platform", "rule": _address, "is_optional": True}
    )
    rate_limits: Mapping[str, float] | None = attrs.field(
        default=None,
        metadata={"help": "what the platform allows; `requests_per_…` are kept", "rule": _limits, "is_optional": True},
    )
    hosts: tuple[str, ...] = names((), help="hosts that it talks to: its transport connects to no other")
    hooks: tuple[str, ...] = names((), help="hooks it implements beside peft_studio_connector")
    commands: tuple[Command, ...] = _each(Command, help="commands that it adds")
    api_version: int = integer(API_VERSION, minimum=0, help="version of the plugin interface it was written for")

    @property
    def fields(self) -> tuple[Credential | Setting, ...]:
        """Everything that `connect` may be given."""
        return (*self.credentials, *self.settings)


def read(package: ModuleSpec | None) -> bytes | None:
    """The bytes of the package's connector.json, or None when there is none. Raises OSError when it is unreadable."""
    loader = getattr(package, "loader", None)
    if package is None or package.origin is None or not hasattr(loader, "get_data"):
        return None
    if not package.submodule_search_locations:
        return None
    try:
        data: bytes = loader.get_data(str(Path(package.origin).with_name(FILE_NAME)))  # type: ignore[union-attr]  # asked above
        return data
    except OSError as error:
        if error.errno in (errno.ENOENT, 0, None):  # a zip importer raises OSError(0) for what is not in the archive
            return None
        raise


def parse(data: bytes) -> tuple[Manifest | None, list[Finding]]:
    """The manifest in `data` with everything to say about it; None when there is a fault."""
    findings: list[Finding] = []
    if data.startswith(_BYTE_ORDER_MARK):
        findings.append(_finding("starts with a byte order mark", "save it as UTF-8 without one", Severity.WARNING))
        data = data.removeprefix(_BYTE_ORDER_MARK)
    try:
        content = json.loads(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        return None, [*findings, _finding(f"is not UTF-8 (byte {error.start})", "save it as UTF-8", cause=error)]
    except RecursionError as error:
        return None, [*findings, _finding("is nested too deeply", cause=error)]
    except json.JSONDecodeError as error:
        message = f"is not JSON: line {error.lineno}, column {error.colno}: {error.msg}"
        return None, [*findings, _finding(message, "mend the file at that place", cause=error)]
    manifest = _structure(Manifest, content, "", findings)
    faults = [] if manifest is None else _login_faults(manifest)
    return (None if faults else manifest), [*findings, *faults]


def unreadable(error: OSError) -> Finding:
    """What to say when the file is there and cannot be read."""
    return _finding(f"cannot be read: {error.strerror}", "mend its permissions, or reinstall the plugin", cause=error)


def unknown_hooks(manifest: Manifest, known: list[str]) -> list[Finding]:
    """Hooks that connector.json lists and nobody will ever call."""
    return [
        _finding(
            f"lists the hook {hook!r}, which does not exist",
            _did_you_mean(hook, known) or f"the hooks are {', '.join(known)}",
            Severity.WARNING,
        )
        for hook in manifest.hooks
        if hook not in known
    ]


def _login_faults(manifest: Manifest) -> list[Finding]:
    """Where login_file does not fit the rest of the file, or its own format."""
    login = manifest.login_file
    if login is None:
        return []
    known = [credential.key for credential in manifest.credentials]
    faults = [
        _finding(
            f"login_file.keys names {key!r}, which is not among the credentials",
            _did_you_mean(key, known) or f"the credentials are {', '.join(known) or 'none'}",
        )
        for key in login.keys
        if key not in known
    ]
    for key, place in login.keys.items():
        if (login.format == "text") != (place == WHOLE_FILE):
            message = f"login_file.keys.{key} is {place!r}, and login_file.format is {login.format}"
            faults.append(_finding(message, 'a text has the one place ".", every other format has names'))
    return faults


def _structure(kind: type, content: Any, place: str, findings: list[Finding]) -> Any:
    """An instance of the attrs class `kind`, or None when `findings` got a fault on the way."""
    if not isinstance(content, dict):
        findings.append(_finding(f"{_at(place)}must be an object, not {_shown(content)}"))
        return None
    known = {attribute.name: attribute for attribute in attrs.fields(kind)}
    findings += [_unknown_key(key, place, list(known)) for key in content if key not in known]
    before = sum(finding.is_fault for finding in findings)
    values = {}
    for name, attribute in known.items():
        if content.get(name) is not None:
            values[name] = _value(attribute, content[name], _join(place, name), findings)
        elif attribute.default is attrs.NOTHING:
            findings.append(_finding(f"{_join(place, name)} is missing", f'add "{name}": {attribute.metadata["help"]}'))
    if sum(finding.is_fault for finding in findings) > before:
        values = {name: value for name, value in values.items() if value is not None}
        findings += _complaints_of_partial(kind, values, place)
        return None
    instance = kind(**values)
    faults = [_finding(_join(place, message)) for _, message in complaints(instance)]
    findings += faults
    return None if faults else instance


def _complaints_of_partial(kind: type, values: dict[str, Any], place: str) -> list[Finding]:
    """Faults of the fields that are there, so that one missing field does not hide the others."""
    fields = {attribute.name: attribute for attribute in attrs.fields(kind)}
    missing = {
        name: None for name, attribute in fields.items() if name not in values and attribute.default is attrs.NOTHING
    }
    instance = kind(**values, **missing)
    return [_finding(_join(place, message)) for name, message in complaints(instance) if name in values]


def _value(attribute: attrs.Attribute[Any], content: Any, place: str, findings: list[Finding]) -> Any:
    metadata = attribute.metadata
    if "one" in metadata:
        return _structure(metadata["one"], content, place, findings)
    if "each" not in metadata:
        return content
    if not isinstance(content, list):
        findings.append(_finding(f"{place} must be a list of objects, not {_shown(content)}"))
        return None
    return tuple(_structure(metadata["each"], item, f"{place}[{i}]", findings) for i, item in enumerate(content))


def _unknown_key(key: str, place: str, known: list[str]) -> Finding:
    message = f"{_join(place, key)} is not a key that is known here"
    return _finding(message, _did_you_mean(key, known) or "remove it, or upgrade peft-studio", Severity.WARNING)


def _did_you_mean(word: str, known: list[str]) -> str | None:
    from difflib import get_close_matches  # here: nearly every list does without

    guesses = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"did you mean {guesses[0]!r}?" if guesses else None


def _finding(
    message: str, remedy: str | None = None, severity: Severity = Severity.FAULT, cause: BaseException | None = None
) -> Finding:
    return Finding(
        stage=Stage.MANIFEST,
        message=f"{FILE_NAME}: {message}",
        remedy=remedy or "see docs/reference/plugins.md for the fields",
        severity=severity,
        cause=cause,
    )


def _join(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _at(place: str) -> str:
    return f"{place} " if place else ""


def _shown(value: Any) -> str:
    return "null" if value is None else f"{json.dumps(value)[:40]}"

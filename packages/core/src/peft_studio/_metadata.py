"""Entry points of installed distributions: the only module that reads importlib-metadata.

Nothing of a distribution is imported. One call reads the disk once; whoever needs it twice keeps the answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import importlib_metadata
from attrs import frozen


@frozen
class Claim:
    """A distribution that has entry points in the group, as (name, value) pairs; or the reason it cannot be read."""

    distribution: str
    version: str
    location: Path
    requires: tuple[str, ...] = ()
    entries: tuple[tuple[str, str], ...] = ()
    fault: str | None = None


@frozen
class Installed:
    """One metadata folder: a distribution as an installer left it, hidden by another or not."""

    name: str
    version: str
    requires: tuple[str, ...]
    #: The directory on the path, and the name of the metadata folder in it.
    location: Path
    folder: str
    entry_points: tuple[tuple[str, str, str], ...]
    #: The text of direct_url.json: where it came from, if not from an index.
    direct_url: str | None

    @property
    def key(self) -> str:
        """Its normalized name."""
        return normalized(self.name)


def installed(path: Sequence[str] | None = None) -> list[Installed]:
    """Every distribution on `path` (default: sys.path), once; the first of a name is the one that counts.

    Folders without readable metadata are left out: those that matter are told of by `claims`.
    """
    found: dict[str, Installed] = {}
    for distribution in _in_order(path):
        entry = _installed(distribution)
        if entry is not None:
            found.setdefault(str(entry.location / entry.folder), entry)
    return list(found.values())


def requirements_of(name: str) -> tuple[str, ...]:
    """The Requires-Dist lines of one installed distribution. Raises `PackageNotFoundError`."""
    return tuple(importlib_metadata.requires(name) or ())


def claims(group: str, path: Sequence[str] | None = None) -> list[Claim]:
    """One claim per distribution on `path` (default: sys.path) with entry points in `group`.

    A distribution seen twice counts once, as it does for the import system: the first directory on the path wins, and
    within one directory the .dist-info wins over an .egg-info left beside it.
    """
    seen: set[str] = set()
    found = []
    for distribution in _in_order(path):
        claim = _claim(distribution, group)
        key = normalized(claim.distribution)
        if key not in seen and (claim.entries or claim.fault):
            found.append(claim)
        seen.add(key)
    return found


def normalized(name: str) -> str:
    """The name under which indexes and installers know a distribution (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _in_order(path: Sequence[str] | None) -> Iterator[Any]:
    """Distributions by directory in path order; inside a directory in an order that is the same everywhere."""
    options = {} if path is None else {"path": [str(Path(entry)) for entry in path]}
    by_directory: dict[str, list[Any]] = {}
    for distribution in importlib_metadata.distributions(**options):
        by_directory.setdefault(str(distribution.locate_file("")), []).append(distribution)
    for group in by_directory.values():
        yield from sorted(group, key=lambda found: (_folder(found).endswith(".egg-info"), _folder(found)))


def _folder(distribution: Any) -> str:
    """Name of the metadata folder; other kinds of finders have none."""
    return Path(str(getattr(distribution, "_path", ""))).name


def _claim(distribution: Any, group: str) -> Claim:
    location = Path(str(distribution.locate_file("")))
    stem = _folder(distribution).rpartition(".")[0]
    name, _, version = stem.partition("-")
    try:
        text = distribution.read_text("entry_points.txt")
        if not text or group not in text:
            return Claim(name, version, location)
        entries = tuple(
            (entry.name, entry.value.strip()) for entry in distribution.entry_points if entry.group == group
        )
    except (OSError, ValueError, TypeError) as error:
        return Claim(name, version, location, fault=f"its entry_points.txt cannot be read ({error})")
    try:
        name, version, requires = _headers(distribution)
        return Claim(name, version, location, requires, entries)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Claim(name, version, location, entries=entries, fault=f"its METADATA cannot be read ({error})")


def _installed(distribution: Any) -> Installed | None:
    try:
        name, version, requires = _headers(distribution)
        entries = tuple((entry.group, entry.name, entry.value) for entry in distribution.entry_points)
        direct_url = distribution.read_text("direct_url.json")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    location = Path(str(distribution.locate_file("")))
    return Installed(name, version, requires, location, _folder(distribution), entries, direct_url)


def _headers(distribution: Any) -> tuple[str, str, tuple[str, ...]]:
    """Name, version and requirements.

    They are single lines at the head of METADATA; reading just these saves a list the import of the email package,
    a tenth of its time. Other kinds of metadata take the long way.
    """
    text = distribution.read_text("METADATA")
    if not text:
        metadata = distribution.metadata
        return metadata["Name"], metadata["Version"], tuple(distribution.requires or ())
    head = [line.partition(":") for line in text.partition("\n\n")[0].splitlines()]
    values = {key.lower(): value.strip() for key, _, value in reversed(head)}
    requires = tuple(value.strip() for key, _, value in head if key.lower() == "requires-dist")
    return values["name"], values["version"], requires

"""What to install, as a user names it: a connector of ours, a distribution, a path or an address."""

from __future__ import annotations

import os
import re
from pathlib import Path

from attrs import frozen

from peft_studio._metadata import normalized, requirements_of
from peft_studio.errors import InvalidConfig
from peft_studio.registry import FIRST_PARTY

_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tar.bz2", ".tar.xz")
_ADDRESS = re.compile(r"(?:\w+\+)?(?:https?|file|ssh|git|ftp)://\S+|(?:git|hg|svn|bzr)\+\S+")


@frozen
class Requirement:
    """One argument for an installer; `name` is the distribution's, normalized, where it is known."""

    text: str
    name: str | None = None
    is_editable: bool = False


def parse_requirement(argument: str, *, is_editable: bool = False) -> Requirement:
    """What the user means by `argument`, in the order in which pip would take it. Raises `InvalidConfig`."""
    if argument in FIRST_PARTY and not is_editable:
        return first_party(argument)
    if _looks_like_path(argument):
        return _from_path(argument, is_editable=is_editable)
    if is_editable:
        raise InvalidConfig(f"{argument} is not a folder", remedy="an editable install needs the folder of a project")
    if _ADDRESS.fullmatch(argument):
        return Requirement(argument)
    return _from_requirement(argument)


def first_party(name: str) -> Requirement:
    """Our own connector of that name: what the extra of that name asks for, which brings the connector complete."""
    distribution = f"peft-studio-{name}"
    asked = re.compile(rf"({distribution}\b[^;]*?)\s*;\s*extra\s*==\s*['\"]{name}['\"]")
    lines = [match[1] for line in requirements_of("peft-studio") if (match := asked.fullmatch(line))]
    return Requirement(lines[0] if lines else distribution, name=distribution)


def _looks_like_path(argument: str) -> bool:
    """As pip decides: a separator or a leading dot makes it a path, and so does the ending of an archive."""
    bare = re.sub(r"\[[^]]*\]$", "", argument)
    has_separator = os.sep in bare or (os.altsep or os.sep) in bare or bare.startswith((".", "~"))
    return "://" not in bare and (has_separator or bare.endswith(_ARCHIVES))


def _from_path(argument: str, *, is_editable: bool) -> Requirement:
    path, extras = re.fullmatch(r"(.*?)(\[[^]]*\])?", argument).groups()  # type: ignore[union-attr]  # matches anything
    place = Path(path).expanduser().absolute()
    if not place.exists():
        raise InvalidConfig(f"{place} does not exist", remedy="name a folder with a pyproject.toml, or a wheel")
    if place.is_dir() and not any((place / file).is_file() for file in ("pyproject.toml", "setup.py")):
        raise InvalidConfig(f"{place} is not a Python project", remedy="it needs a pyproject.toml")
    if is_editable and not place.is_dir():
        raise InvalidConfig(f"{place} is not a folder", remedy="an editable install needs the folder of a project")
    return Requirement(f"{place}{extras or ''}", name=_name_in(place), is_editable=is_editable)


def _name_in(place: Path) -> str | None:
    """The distribution that a wheel, or the pyproject.toml of a folder, says it is."""
    if place.suffix == ".whl":
        return normalized(place.name.partition("-")[0])
    file = place / "pyproject.toml"
    if not file.is_file():
        return None
    import tomllib

    try:
        name = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {}).get("name")
    except ValueError as error:
        raise InvalidConfig(f"{file} cannot be read", why=str(error), remedy="mend it at that place") from error
    return normalized(name) if isinstance(name, str) else None


def _from_requirement(argument: str) -> Requirement:
    from packaging import requirements as pep508

    try:
        name = pep508.Requirement(argument).name
    except pep508.InvalidRequirement as error:
        why = str(error).splitlines()[0]
        remedy = "write it as for pip: a name, name>=1.0, a path, or an address"
        raise InvalidConfig(f"{argument!r} is nothing that can be installed", why=why, remedy=remedy) from error
    return Requirement(argument, name=normalized(name))

"""Writes the files of a new connector from the templates, all of them or none."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from peft_studio.artifacts import put_in_place
from peft_studio.errors import InvalidConfig
from peft_studio.records import FEATURES
from peft_studio_testkit.scaffold.imports import tidy_imports
from peft_studio_testkit.scaffold.names import Names

if TYPE_CHECKING:
    from jinja2 import Environment

TEMPLATE: Final = Path(__file__).with_name("template")
_SUFFIX: Final = ".jinja"
_ABOUT: Final = {"training": "jobs", "inference": "endpoints", "registry": "models", "tracking": "runs"}


def render(
    name: str,
    destination: Path,
    *,
    features: Iterable[str] = ("training",),
    display_name: str | None = None,
    author: str | None = None,
) -> list[Path]:
    """Write a complete distribution for the connector `name` to `destination`; returns its files, sorted.

    `destination` must be new or an empty folder; it gets everything in one rename, or nothing. Raises `InvalidConfig`.
    """
    names = Names.of(name, display_name, author)
    chosen = _ordered(features)
    destination = destination.expanduser().absolute()
    try:
        _write(destination, _files(names, chosen))
    except OSError as error:
        raise InvalidConfig(f"{destination} cannot be written", why=error.strerror) from error
    return sorted(path for path in destination.rglob("*") if path.is_file())


def _write(destination: Path, files: Iterable[tuple[str, str]]) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{destination.name}-", dir=destination.parent) as folder:
        arriving = Path(folder) / "project"
        for path, text in files:
            (arriving / path).parent.mkdir(parents=True, exist_ok=True)
            (arriving / path).write_text(text, encoding="utf-8", newline="\n")
        put_in_place(arriving, destination)


def _ordered(features: Iterable[str]) -> tuple[str, ...]:
    wanted = set(features)
    unknown = sorted(wanted.difference(FEATURES))
    if unknown or not wanted:
        what = f"{unknown[0]!r} is not a feature" if unknown else "a connector without a feature does nothing"
        raise InvalidConfig(what, why=f"the features are {', '.join(FEATURES)}")
    return tuple(feature for feature in FEATURES if feature in wanted)


def _files(names: Names, features: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Path and text of each file, under the name that it has in the new project."""
    engine = _engine()
    values = {
        **{feature: feature in features for feature in FEATURES},
        "names": names,
        "features": features,
        "bases": [f"{feature.capitalize()}Connector" for feature in features],
        "description": f"{_listed(features)} on {names.display_name}",
    }
    for template in sorted(TEMPLATE.rglob(f"*{_SUFFIX}")):
        source = template.relative_to(TEMPLATE).as_posix()
        path = source.removesuffix(_SUFFIX).replace("PACKAGE", names.package).replace("NAME", names.module)
        text = engine.get_template(source).render(values)
        if text.strip() or path.endswith("py.typed"):  # a file that no chosen feature needs is empty
            yield path, tidy_imports(text) if path.endswith(".py") else text


def _listed(features: tuple[str, ...]) -> str:
    """What the features are about, as the beginning of a sentence."""
    words = [_ABOUT[feature] for feature in features]
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])).capitalize()


def _engine() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(TEMPLATE),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 -- it writes Python and TOML, and `Names` lets no quote through
    )

"""Requirements of an installed plugin that its environment does not meet, told from metadata."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from attrs import frozen
from packaging.requirements import InvalidRequirement, Requirement

from peft_studio._metadata import Installed, normalized


@frozen
class Unmet:
    """One requirement, and what is installed instead: a version, or nothing."""

    #: The requirement without its marker.
    line: str
    #: Normalized name of what is required; None for a line that cannot be read.
    name: str | None
    installed: str | None
    #: The distribution that asks for it: the plugin, or one that the plugin wants with an extra.
    asked_by: str


def unmet(plugin: Installed, environment: Mapping[str, Installed]) -> Iterator[Unmet]:
    """Every requirement of `plugin` that is missing or of another version, markers and extras honoured.

    `environment` has what is installed by normalized name. What a required distribution needs itself is not asked, but
    for its extras that the plugin asks for: `name[extra]` promises that these are complete.
    """
    yield from _unmet(plugin, (), environment, set())


def _unmet(
    asking: Installed, extras: Iterable[str], environment: Mapping[str, Installed], seen: set[tuple[str, str]]
) -> Iterator[Unmet]:
    for line in asking.requires:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            yield Unmet(line, None, None, asking.name)
            continue
        if not _applies(requirement, extras):
            continue
        found = environment.get(normalized(requirement.name))
        plain = str(requirement).partition(";")[0].strip()
        if found is None or not requirement.specifier.contains(found.version, prereleases=True):
            name = normalized(requirement.name)
            yield Unmet(plain, name, None if found is None else found.version, asking.name)
            continue
        fresh = {extra for extra in requirement.extras if (found.key, extra) not in seen}
        seen.update((found.key, extra) for extra in fresh)
        if fresh:
            yield from _unmet(found, fresh, environment, seen)


def _applies(requirement: Requirement, extras: Iterable[str]) -> bool:
    """True for a line without an extra when none is asked for, and for the lines of those extras otherwise."""
    marker = requirement.marker
    without = marker is None or marker.evaluate({"extra": ""})
    wanted = list(extras)
    if not wanted:
        return without
    return not without and marker is not None and any(marker.evaluate({"extra": extra}) for extra in wanted)

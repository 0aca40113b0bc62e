"""What is wrong with the plugins of this environment, told from files alone: no plugin is imported.

Each question is one function that yields diagnoses. A *fault* keeps something from working; a *warning* is worth
knowing, and an *advice* makes a plugin better.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from attrs import frozen

from peft_studio import _metadata
from peft_studio._editable import differences
from peft_studio._environment import Environment
from peft_studio._metadata import normalized
from peft_studio._origins import project_folder
from peft_studio._unmet import Unmet, unmet
from peft_studio.compatibility import CORE
from peft_studio.installers import remedy_to_install
from peft_studio.policy import Source, means, settings_file, sources
from peft_studio.records import Finding, Plugin, Severity, State
from peft_studio.registry import FIRST_PARTY

SANDBOXES = "peft_studio.sandboxes"


@frozen(kw_only=True)
class Diagnosis:
    """One thing that is wrong: what it is, where, and what mends it. `question` is the one that brought it up."""

    question: str
    what: str
    where: str
    remedy: str
    severity: Severity = Severity.FAULT

    @property
    def is_fault(self) -> bool:
        """True when something does not work because of it."""
        return self.severity is Severity.FAULT

    def to_dict(self) -> dict[str, Any]:
        """The shape that `connectors doctor --json` promises."""
        return {
            "question": self.question,
            "severity": str(self.severity),
            "what": self.what,
            "where": self.where,
            "remedy": self.remedy,
        }


def examine(path: Sequence[str | Path] | None = None) -> list[Diagnosis]:
    """Every diagnosis for the plugins on `path` (default: sys.path), faults first. Remembers what is installed."""
    here = Environment(None if path is None else [str(entry) for entry in path])
    found = [diagnosis for question in QUESTIONS for diagnosis in question(here)]
    here.seen.remember(here.plugins)
    order = list(Severity)
    return sorted(found, key=lambda diagnosis: order.index(diagnosis.severity))


def forget_vanished(path: Sequence[str | Path] | None = None) -> None:
    """Take plugins that are gone as gone: they are not told of any more."""
    here = Environment(None if path is None else [str(entry) for entry in path])
    here.seen.forget(here.plugins)


def settings_are_read(here: Environment) -> Iterator[Diagnosis]:
    """settings.toml can be read."""
    error = here.torn_settings
    if error is not None:
        remedy = error.remedy or "mend the file"
        yield Diagnosis(question="settings", what=str(error), where=str(settings_file()), remedy=remedy)


def names_are_known(here: Environment) -> Iterator[Diagnosis]:
    """Names in the policy are those of installed connectors or distributions."""
    for source in [] if here.torn_settings else sources():
        for name in sorted(source.allow or ()):
            yield from _unknown("allow", name, source, here)
        for name in sorted(source.deny):
            yield from _unknown("deny", name, source, here)
        for name, owner in source.pin.items():
            if name not in here.claims:
                yield _idle_pin(name, owner, source, here)


def _unknown(key: str, name: str, source: Source, here: Environment) -> Iterator[Diagnosis]:
    if any(means(name, plugin) for plugin in here.plugins):
        return
    known = sorted({known for plugin in here.plugins for known in (plugin.name, plugin.distribution)})
    near = get_close_matches(name, known, n=1)
    remedy = f"take {name} out of {source.where}"
    if source.is_file:
        remedy = f"peft-studio connectors {key} {name} --remove"
    if near:
        remedy = f"did you mean {near[0]}? otherwise: {remedy}"
    yield _warning("policy", f"{key} names {name}, and nothing installed is called that", source.where, remedy)


def _idle_pin(name: str, owner: str, source: Source, here: Environment) -> Diagnosis:
    remedy = f"peft-studio connectors pin {name} --remove"
    if normalized(owner) in here.distributions:
        what = f"{name} is pinned to {owner}, which delivers no connector of that name"
        return _warning("policy", what, source.where, remedy)
    what = f"{name} is pinned to {owner}, which is not installed"
    return _warning("policy", what, source.where, f"{remedy_to_install(owner)}, or {remedy}")


def connectors_are_usable(here: Environment) -> Iterator[Diagnosis]:
    """Nothing is known that stops a connector, and each has a connector.json."""
    for name, candidates in here.claims.items():
        state = here.registry.describe(name).state
        for finding in _to_tell(here.registry.findings(name)) if state is not State.DISABLED else ():
            yield Diagnosis(
                question="ambiguous" if state is State.AMBIGUOUS else str(finding.stage),
                what=f"{name}: {finding.message}",
                where=", ".join(_place(candidate.plugin) for candidate in candidates),
                remedy=finding.remedy or f"peft-studio connectors check {name}",
                severity=finding.severity,
            )


def _to_tell(findings: list[Finding]) -> list[Finding]:
    """Without advice on how to make better what does not work."""
    is_broken = any(finding.is_fault for finding in findings)
    return [finding for finding in findings if not is_broken or finding.severity is not Severity.ADVICE]


def reserved_names_are_ours(here: Environment) -> Iterator[Diagnosis]:
    """The names of our own connectors are claimed by our own distributions, or by one that the user has pinned."""
    for plugin in here.allowed:
        ours = f"{CORE}-{plugin.name}"
        pinned = normalized(here.policy.pin.get(plugin.name, ours))
        if plugin.name in FIRST_PARTY and normalized(plugin.distribution) not in (ours, pinned):
            pin = f"peft-studio connectors pin {plugin.name}"
            yield Diagnosis(
                question="reserved",
                what=f"{plugin.name} is the name of {ours}, and {plugin.distribution} claims it",
                where=_place(plugin),
                remedy=f"{pin} {ours}; or, if you trust the other: {pin} {plugin.distribution}",
            )


def editable_installs_are_fresh(here: Environment) -> Iterator[Diagnosis]:
    """The metadata of an editable install say what its project says now."""
    for entry, plugins in here.of_plugins():
        try:
            folder = project_folder(entry)
            told = list(differences(entry, plugins, here.path))
        except ValueError as error:
            what, where = f"{entry.name}: where it came from cannot be told: {error}", entry.location / entry.folder
            yield _warning("editable", what, str(where), remedy_to_install(entry.name))
            continue
        for difference in told:
            is_there = folder is not None and folder.is_dir()
            yield Diagnosis(
                question="editable",
                what=f"{entry.name}: {difference}",
                where=str(folder),
                remedy=remedy_to_install(str(folder), is_editable=True) if is_there else remedy_to_install(entry.name),
                severity=Severity.WARNING if difference.startswith("its version") else Severity.FAULT,
            )


def requirements_are_met(here: Environment) -> Iterator[Diagnosis]:
    """What a plugin requires is installed, in a version that it accepts."""
    for entry, _ in here.of_plugins():
        for lack in unmet(entry, here.distributions):
            if lack.name == CORE and lack.asked_by == entry.name:
                continue  # told with the connector: it decides whether the plugin is imported
            through = "" if lack.asked_by == entry.name else f", which is told by {lack.asked_by}"
            yield Diagnosis(
                question="requirement",
                what=f"{entry.name} {_in_words(lack)}{through}",
                where=f"{entry.name} {entry.version} in {entry.location}",
                remedy=remedy_to_install(lack.line) if lack.name else f"report it to the author of {lack.asked_by}",
            )


def _in_words(lack: Unmet) -> str:
    if lack.name is None:
        return f"has a requirement that cannot be read: {lack.line!r}"
    return f"needs {lack.line}, and {lack.name} is {lack.installed or 'not installed'}"


def nothing_is_left_over(here: Environment) -> Iterator[Diagnosis]:
    """A distribution has one metadata folder in a directory."""
    ours = {CORE, *(normalized(plugin.distribution) for plugin in here.plugins)}
    for entry in here.installed:
        first = next(each for each in here.installed if (each.key, each.location) == (entry.key, entry.location))
        if entry.key in ours and entry is not first:
            yield Diagnosis(
                question="leftover",
                what=f"{entry.name} has two metadata folders: {first.folder} counts, {entry.folder} is left over",
                where=str(entry.location),
                remedy=f"remove {entry.location / entry.folder}",
                severity=Severity.WARNING if entry.folder.endswith(".egg-info") else Severity.FAULT,
            )


def nothing_has_vanished(here: Environment) -> Iterator[Diagnosis]:
    """Plugins that were here are still here."""
    for gone in here.seen.vanished(here.plugins):
        names = ", ".join(gone.connectors)
        yield _warning(
            "vanished",
            f"{gone.distribution} {gone.version}, which delivers {names}, was installed here and is not any more",
            sys.prefix,
            f"{remedy_to_install(gone.distribution)}; or, if that is meant: peft-studio connectors doctor --forget",
        )


def sandboxes_have_a_connector(here: Environment) -> Iterator[Diagnosis]:
    """A sandbox belongs to an installed connector."""
    for claim in _metadata.claims(SANDBOXES, here.path):
        for name, _ in claim.entries:
            if name not in here.claims:
                yield _warning(
                    "sandbox",
                    f"{claim.distribution} brings a sandbox for {name}, and no connector of that name is installed",
                    f"{claim.distribution} {claim.version} in {claim.location}",
                    f"install the connector, or pip uninstall {claim.distribution}",
                )


def _warning(question: str, what: str, where: str, remedy: str) -> Diagnosis:
    return Diagnosis(question=question, what=what, where=where, remedy=remedy, severity=Severity.WARNING)


def _place(plugin: Plugin) -> str:
    return f"{plugin.origin} in {plugin.location}"


QUESTIONS = (
    settings_are_read,
    connectors_are_usable,
    reserved_names_are_ours,
    editable_installs_are_fresh,
    requirements_are_met,
    nothing_is_left_over,
    nothing_has_vanished,
    sandboxes_have_a_connector,
    names_are_known,
)

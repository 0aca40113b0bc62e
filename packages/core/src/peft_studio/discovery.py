"""Scan: which distributions claim to be a connector, and where their modules lie. Imports no third-party code.

Two different distributions that claim one name are both kept; who may use it is decided by policy, never by order.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec

from attrs import frozen

from peft_studio import _metadata
from peft_studio.records import Finding, Plugin, Stage

GROUP = "peft_studio.connectors"

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


@frozen
class Candidate:
    """A plugin that was found, with what its metadata alone already shows to be wrong."""

    plugin: Plugin
    findings: tuple[Finding, ...] = ()


def scan(path: Sequence[str] | None = None) -> dict[str, tuple[Candidate, ...]]:
    """Every claim to a connector name, by name. More than one for a name makes it ambiguous.

    `path` are the directories to look in; None means sys.path, as Python's own imports do.
    """
    found: dict[str, list[Candidate]] = {}
    for claim in _metadata.claims(GROUP, path):
        for candidate in _candidates(claim):
            found.setdefault(candidate.plugin.name, []).append(candidate)
    return {name: tuple(candidates) for name, candidates in sorted(found.items())}


def locate(plugin: Plugin, path: Sequence[str] | None = None) -> ModuleSpec | None:
    """The spec of the plugin's top-level package, or None. Never given a dotted name, which would import the parent."""
    if path is not None and (spec := PathFinder.find_spec(plugin.package, list(path))) is not None:
        return spec
    try:
        return find_spec(plugin.package)
    except (ValueError, ImportError):
        return None


def missing_module(plugin: Plugin, package: ModuleSpec | None) -> Finding | None:
    """The fault of an entry point that leads nowhere, told from the files alone."""
    remedy = f"reinstall it: pip install --force-reinstall {plugin.distribution}"
    if package is None:
        return _fault(
            f"its entry point names the module {plugin.value}, but there is no package {plugin.package}", remedy
        )
    name, spec = plugin.package, package
    for part in plugin.value.split(".")[1:]:
        name = f"{name}.{part}"
        inner = PathFinder.find_spec(name, list(spec.submodule_search_locations or ()))
        if inner is None:
            return _fault(f"its entry point names the module {plugin.value}, but there is no module {name}", remedy)
        spec = inner
    return None


def _candidates(claim: _metadata.Claim) -> list[Candidate]:
    entries = dict.fromkeys(claim.entries) or {("", ""): None}
    by_name: dict[str, list[str]] = {}
    for name, value in entries:
        by_name.setdefault(name or claim.distribution, []).append(value)
    return [_candidate(claim, name, values) for name, values in by_name.items()]


def _candidate(claim: _metadata.Claim, name: str, values: list[str]) -> Candidate:
    plugin = Plugin(
        name=name,
        value=values[0],
        distribution=claim.distribution,
        version=claim.version,
        requires=claim.requires,
        location=claim.location,
    )
    fault = _claim_fault(claim, plugin, values)
    return Candidate(plugin, () if fault is None else (fault,))


def _claim_fault(claim: _metadata.Claim, plugin: Plugin, values: list[str]) -> Finding | None:
    ask_author = f"report it to the author of {claim.distribution}"
    if claim.fault is not None:
        return _fault(claim.fault, f"reinstall it: pip install --force-reinstall {claim.distribution}")
    if len(values) > 1:
        return _fault(f"it claims the name {plugin.name!r} twice, for {' and '.join(values)}", ask_author)
    if not _NAME.fullmatch(plugin.name):
        rule = "a name has lower-case letters and digits, joined by - or _"
        return _fault(f"its entry point has the name {plugin.name!r}; {rule}", ask_author)
    if not plugin.value:
        return _fault("its entry point is empty; it must name the plugin module", ask_author)
    if not _MODULE.fullmatch(plugin.value):
        example = f"such as {plugin.package}.plugin" if _MODULE.fullmatch(plugin.package) else "such as acme.plugin"
        return _fault(f"its entry point is {plugin.value!r}; it must name a module, {example}", ask_author)
    return None


def _fault(message: str, remedy: str) -> Finding:
    return Finding(stage=Stage.DISCOVERY, message=message, remedy=remedy)

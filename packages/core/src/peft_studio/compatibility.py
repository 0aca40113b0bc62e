"""Was the plugin made for this version of core? Told from metadata and connector.json, before anything is imported."""

from __future__ import annotations

import re

from peft_studio import __version__
from peft_studio.manifest import API_VERSION, Manifest
from peft_studio.records import Finding, Plugin, Stage

CORE = "peft-studio"

#: A requirement on core, and not on one of its neighbours such as peft-studio-worker.
_OURS = re.compile(r"peft[-_.]+studio(?![-_.\w])", re.IGNORECASE)
#: `peft-studio[live]>=0.1,<1`: the form that nearly all requirements have.
_SIMPLE = re.compile(r"peft-studio(?:\[[^]]*\])?((?:(?:>=|<)\d+(?:\.\d+)*,?)+)", re.ASCII)


def version_fault(plugin: Plugin, manifest: Manifest | None) -> Finding | None:
    """The fault of a plugin that was made for another version of core; None when it fits."""
    for line in plugin.requires:
        if not _OURS.match(line) or is_plainly_met(line, __version__):
            continue
        fault = _requirement_fault(plugin, line)
        if fault is not None:
            return fault
    if manifest is None or manifest.api_version == API_VERSION:
        return None
    newer = manifest.api_version > API_VERSION
    return Finding(
        stage=Stage.VERSION,
        message=f"connector.json asks for plugin interface {manifest.api_version}, and this is {API_VERSION}",
        remedy=f"pip install --upgrade {CORE if newer else plugin.distribution}",
    )


def is_plainly_met(requirement: str, version: str) -> bool:
    """True for a requirement of the simple form that `version` meets; False says nothing.

    Spares a list of connectors the import of packaging, which is asked about everything else.
    """
    simple = _SIMPLE.fullmatch(requirement.replace(" ", ""))
    if simple is None or not re.fullmatch(r"\d+(\.\d+)*", version, re.ASCII):
        return False
    clauses = [(clause.lstrip("<>="), clause[0] == ">") for clause in simple[1].split(",") if clause]
    return all((_release(version) >= _release(bound)) == is_minimum for bound, is_minimum in clauses)


def _release(version: str) -> list[int]:
    """The numbers of a version, without zeros at the end, which mean nothing."""
    numbers = [int(part) for part in version.split(".")]
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return numbers


def _requirement_fault(plugin: Plugin, line: str) -> Finding | None:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(line)
    except InvalidRequirement as error:
        remedy = f"report it to the author of {plugin.distribution}"
        return Finding(
            stage=Stage.VERSION, message=f"its requirement {line!r} cannot be read", remedy=remedy, cause=error
        )
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return None
    if requirement.specifier.contains(__version__, prereleases=True):
        return None
    wants_newer = any(
        clause.operator in (">=", ">", "~=", "==") and not clause.contains(__version__, prereleases=True)
        for clause in requirement.specifier
    )
    remedy = f"pip install --upgrade '{CORE}{requirement.specifier}'"
    if not wants_newer:
        remedy = f"pip install --upgrade {plugin.distribution}"
    message = f"it needs {CORE} {requirement.specifier}, and this is {CORE} {__version__}"
    return Finding(stage=Stage.VERSION, message=message, remedy=remedy)

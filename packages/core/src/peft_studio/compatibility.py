"""Was the plugin made for this version of core? Told from metadata and connector.json, before anything is imported."""

from __future__ import annotations

from peft_studio import __version__
from peft_studio._metadata import normalized
from peft_studio.manifest import API_VERSION, Manifest
from peft_studio.records import Finding, Plugin, Stage

CORE = "peft-studio"


def version_fault(plugin: Plugin, manifest: Manifest | None) -> Finding | None:
    """The fault of a plugin that was made for another version of core; None when it fits."""
    for line in plugin.requires:
        if line.lower().startswith("peft") and (fault := _requirement_fault(plugin, line)) is not None:
            return fault
    if manifest is None or manifest.api_version == API_VERSION:
        return None
    newer = manifest.api_version > API_VERSION
    return Finding(
        stage=Stage.VERSION,
        message=f"connector.json asks for plugin interface {manifest.api_version}, and this is {API_VERSION}",
        remedy=f"pip install --upgrade {CORE if newer else plugin.distribution}",
    )


def _requirement_fault(plugin: Plugin, line: str) -> Finding | None:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(line)
    except InvalidRequirement as error:
        remedy = f"report it to the author of {plugin.distribution}"
        return Finding(
            stage=Stage.VERSION, message=f"its requirement {line!r} cannot be read", remedy=remedy, cause=error
        )
    if normalized(requirement.name) != CORE:
        return None
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

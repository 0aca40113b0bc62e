"""One connector name in the registry: who claims it, what is known without an import, and what an import gave."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from attrs import define, field

from peft_studio import manifest as manifests
from peft_studio._memory import FailureMemory
from peft_studio.compatibility import version_fault
from peft_studio.discovery import Candidate, locate, missing_module
from peft_studio.manifest import FILE_NAME, Manifest
from peft_studio.policy import Policy
from peft_studio.records import FEATURES, Broken, ConnectorRecord, Finding, Plugin, Severity, Stage, State

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

    from peft_studio.activation import Trial
    from peft_studio.connector import PlatformConnector


@define
class Entry:
    """Everything the registry knows of one name."""

    name: str
    #: The plugin that may use the name; None while several claim it.
    plugin: Plugin | None = None
    package: ModuleSpec | None = None
    manifest: Manifest | None = None
    #: Told from metadata and connector.json.
    findings: tuple[Finding, ...] = ()
    #: Policy's answer, when it is no.
    refusal: Finding | None = None
    #: What the import brought up; None while nothing was imported in this process.
    trial: tuple[Finding, ...] | None = None
    #: The failure of the trial, or, without one, of an earlier process.
    broken: Broken | None = None
    connector: type[PlatformConnector] | None = None
    is_active: bool = False
    #: Held while it is imported: two threads that want it import it once.
    trying: threading.RLock = field(factory=threading.RLock, eq=False, repr=False)

    @property
    def label(self) -> str:
        """How errors name it."""
        return self.name if self.plugin is None else self.plugin.label

    @property
    def is_disabled(self) -> bool:
        """True when policy, or its own manifest, switched it off."""
        return self.refusal is not None

    @property
    def was_tried(self) -> bool:
        """True when this process has imported it, or has tried to."""
        return self.trial is not None

    @property
    def may_be_imported(self) -> bool:
        """True when nothing known so far forbids it."""
        return self.plugin is not None and not self.is_disabled and not any(found.is_fault for found in self.findings)

    @property
    def fault(self) -> Finding | None:
        """What to tell somebody who wants to use it: policy first, then what is known, then what the import gave."""
        known = [self.refusal] if self.refusal else [found for found in self.findings if found.is_fault]
        if known:
            return known[0]
        return None if self.broken is None else self.broken.as_finding()

    @property
    def state(self) -> State:
        """How far it has come."""
        if self.plugin is None:
            return State.AMBIGUOUS if self.findings[0].stage is Stage.DISCOVERY else State.BROKEN
        if self.is_disabled:
            return State.DISABLED
        if self.fault is not None:
            return State.BROKEN
        if self.is_active:
            return State.ACTIVE
        return State.FOUND if self.manifest is None else State.DESCRIBED

    def lists(self, hook: str) -> bool:
        """True when connector.json says that the plugin implements `hook`."""
        if self.manifest is None:
            return False
        return hook in self.manifest.hooks or (hook == "peft_studio_cli" and bool(self.manifest.commands))

    def record_trial(self, trial: Trial) -> None:
        """Keep what an import gave."""
        self.trial = tuple(trial.findings)
        fault = trial.fault
        self.is_active = fault is None
        self.connector = trial.connector if fault is None else None
        self.broken = None if fault is None or self.plugin is None else Broken.from_finding(self.plugin, fault)

    def all_findings(self) -> list[Finding]:
        """Everything to say: policy, what is known without an import, what the import gave."""
        found = ([self.refusal] if self.refusal else []) + [*self.findings, *(self.trial or ())]
        if self.manifest is None and self.plugin is not None and not any(f.stage is Stage.MANIFEST for f in found):
            found.append(_no_manifest(self.plugin))
        if not self.was_tried and self.broken is not None:
            found.append(self.broken.as_finding())
        return found

    def record(self) -> ConnectorRecord:
        """The entry as one line of a list."""
        problems = self.all_findings()
        manifest, connector, plugin = self.manifest, self.connector, self.plugin
        return ConnectorRecord(
            name=self.name,
            state=self.state,
            display_name=manifest.display_name if manifest else getattr(connector, "display_name", None),
            description=manifest.description if manifest else getattr(connector, "description", None),
            distribution=plugin.distribution if plugin else None,
            version=plugin.version if plugin else None,
            entry_point=plugin.value if plugin else None,
            features=_features(manifest, connector),
            problems=tuple(problem for problem in problems if problem.severity is not Severity.ADVICE),
            manifest=manifest,
        )


def inspect(
    name: str,
    candidates: Sequence[Candidate],
    policy: Policy,
    memory: FailureMemory,
    path: Sequence[str] | None,
) -> Entry:
    """The entry of `name` from everything that can be known without an import."""
    allowed = [found for found in candidates if policy.refusal(found.plugin) is None] or list(candidates)
    chosen = policy.choose(name, [found.plugin for found in allowed])
    if isinstance(chosen, Finding):
        return Entry(name, findings=(chosen,))
    findings = [finding for found in allowed if found.plugin is chosen for finding in found.findings]
    entry = Entry(name, plugin=chosen)
    if not findings:
        entry.package = locate(chosen, path)
        missing = missing_module(chosen, entry.package)
        entry.manifest, told = _read_manifest(entry.package)
        findings = [*([missing] if missing else []), *told, *_static_faults(chosen, entry.manifest)]
    entry.findings = tuple(findings)
    entry.refusal = policy.refusal(chosen, is_enabled=entry.manifest is None or entry.manifest.enabled)
    if entry.may_be_imported:
        entry.broken = memory.recall(chosen, entry.package)
    return entry


def _read_manifest(package: ModuleSpec | None) -> tuple[Manifest | None, list[Finding]]:
    try:
        data = manifests.read(package)
    except OSError as error:
        return None, [manifests.unreadable(error)]
    return (None, []) if data is None else manifests.parse(data)


def _static_faults(plugin: Plugin, manifest: Manifest | None) -> list[Finding]:
    version = version_fault(plugin, manifest)
    found = [] if version is None else [version]
    if manifest is not None and manifest.name != plugin.name:
        message = f"name is {plugin.name!r} in the entry point and {manifest.name!r} in {FILE_NAME}"
        found.append(Finding(stage=Stage.AGREEMENT, message=message, remedy="make them say the same"))
    return found


def _features(manifest: Manifest | None, connector: type | None) -> tuple[str, ...]:
    if manifest is not None:
        return manifest.features.names
    return tuple(feature for feature in FEATURES if getattr(connector, f"supports_{feature}", False))


def _no_manifest(plugin: Plugin) -> Finding:
    return Finding(
        stage=Stage.MANIFEST,
        message=f"{plugin.package} has no {FILE_NAME}, so lists show neither its features nor its credentials",
        remedy=f"add {FILE_NAME} beside its __init__.py (docs/reference/plugins.md)",
        severity=Severity.ADVICE,
    )

"""From a found plugin to a usable class: import, hooks, delivery, validation, agreement.

The steps stop where the next one would make no sense, and otherwise go on, so that one trial says everything that can
be said. The caller has asked the policy and checked the versions before: this is where third-party code begins to run.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from attrs import Factory, define, evolve

from peft_studio._guard import Result, TookTooLong, guarded
from peft_studio.connector import PlatformConnector
from peft_studio.credentials.gathering import hold_environment
from peft_studio.hooks import DELIVERY, Hooks
from peft_studio.manifest import Manifest, unknown_hooks
from peft_studio.records import FEATURES, Finding, Plugin, Severity, Stage
from peft_studio.redaction import redacted
from peft_studio.redaction.errors import redacted_error
from peft_studio.validation import features_of, validate

#: An import that takes longer makes every command that needs the connector slow, seconds.
SLOW_IMPORT = 1.0


@define
class Trial:
    """What an attempt to activate a plugin gave. `connector` is None for a plugin that only has hooks."""

    findings: list[Finding] = Factory(list)
    connector: type[PlatformConnector] | None = None

    @property
    def fault(self) -> Finding | None:
        """The first thing that keeps the plugin from being used."""
        return next((finding for finding in self.findings if finding.is_fault), None)


def attempt(
    plugin: Plugin, manifest: Manifest | None, hooks: Hooks, *, limit: float, path: Sequence[str] | None = None
) -> Trial:
    """Import the plugin, register it, take its class and check it. It stays registered only without a fault."""
    trial = Trial()
    held = hold_environment(manifest)  # a plugin may repeat what it reads there
    known = set(sys.modules)
    _extend_import_path(path)
    outcome = guarded(lambda: importlib.import_module(plugin.value), limit)
    trial.findings += _run_faults(plugin, Stage.IMPORT, f"importing {plugin.value}", outcome)
    if outcome.error is None:
        try:
            _take_class(trial, outcome.value, plugin, manifest, hooks, limit)
        except Exception as error:  # noqa: BLE001 -- looking at a class can run its code
            trial.findings.append(_raised(plugin, Stage.VALIDATION, f"looking at {plugin.value}", error))
    if trial.fault is not None:
        hooks.unregister(plugin.label)
        _forget_modules(plugin, known)
    trial.findings = [_without_secrets(finding) for finding in trial.findings]
    del held
    return trial


def _without_secrets(finding: Finding) -> Finding:
    cause = None if finding.cause is None else redacted_error(finding.cause)
    return evolve(finding, message=redacted(finding.message), cause=cause)


def _take_class(
    trial: Trial, module: ModuleType, plugin: Plugin, manifest: Manifest | None, hooks: Hooks, limit: float
) -> None:
    if hooks.is_registered(module):
        trial.findings.append(_taken(plugin))
        return
    hook_faults = hooks.inspect(module)
    trial.findings += hook_faults
    if manifest is not None:
        trial.findings += _promise_faults(manifest, hooks, module)
    if hook_faults:
        return
    hooks.register(module, plugin.label)
    if DELIVERY not in hooks.implemented(module):
        if manifest is None or manifest.features.names or not manifest.hooks:
            trial.findings.append(_nothing_delivered(plugin))
        return
    outcome = guarded(lambda: hooks.deliver(module), limit)
    faults = _run_faults(plugin, Stage.DELIVERY, DELIVERY, outcome)
    trial.findings += faults
    if outcome.error is not None:
        return
    trial.findings += validate(outcome.value)
    if isinstance(outcome.value, type):
        trial.connector = outcome.value
        trial.findings += disagreements(plugin, manifest, outcome.value)


def disagreements(plugin: Plugin, manifest: Manifest | None, connector: type) -> list[Finding]:
    """Where entry point, connector.json and class say different things."""
    name = getattr(connector, "name", None)
    place = connector.__name__
    if manifest is None:
        same = name in (None, plugin.name)
        return [] if same else [_disagrees("name", "the entry point", plugin.name, place, name)]
    pairs = [(field, getattr(manifest, field), getattr(connector, field, None)) for field in ("name", "display_name")]
    found = [
        _disagrees(field, "connector.json", mine, place, its) for field, mine, its in pairs if its not in (None, mine)
    ]
    declared = features_of(connector)
    for feature in FEATURES:
        mine, its = feature in manifest.features.names, feature in declared
        if mine != its:
            found.append(_disagrees(f"features.{feature}", "connector.json", mine, f"{place}.supports_{feature}", its))
    description = getattr(connector, "description", None)
    if description not in (None, manifest.description):
        fault = _disagrees("description", "connector.json", manifest.description, place, description)
        found.append(Finding(stage=fault.stage, message=fault.message, remedy=fault.remedy, severity=Severity.WARNING))
    return found


def _extend_import_path(path: Sequence[str] | None) -> None:
    """A plugin needs the directory that it was found in for its own imports."""
    sys.path += [str(entry) for entry in path or () if str(entry) not in sys.path]


def _run_faults(plugin: Plugin, stage: Stage, what: str, outcome: Result) -> list[Finding]:
    """What running the plugin's code gave rise to: an exception, a time limit, text on stdout, a slow import."""
    found = []
    if isinstance(outcome.error, TookTooLong):
        remedy = "move slow work out of the import, into connect"
        found.append(Finding(stage=stage, message=f"{what} gave {outcome.error}", remedy=remedy, cause=outcome.error))
    elif outcome.error is not None:
        found.append(_raised(plugin, stage, what, outcome.error))
    if outcome.printed:
        message = f"{what} printed {_quoted(outcome.printed)}, which would spoil the output of every command"
        found.append(Finding(stage=stage, message=message, remedy="remove the print, or use logging"))
    if outcome.error is None and outcome.seconds > SLOW_IMPORT:
        message = f"{what} took {outcome.seconds:.1f} s"
        remedy = "import what is heavy inside the methods that need it"
        found.append(Finding(stage=stage, message=message, remedy=remedy, severity=Severity.WARNING))
    return found


def _raised(plugin: Plugin, stage: Stage, what: str, error: BaseException) -> Finding:
    message = f"{what} raised {type(error).__name__}: {error}".rstrip(": ")
    remedy = f"report it to the author of {plugin.distribution}"
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith(plugin.package):
        remedy = f"reinstall it with what it needs: pip install --force-reinstall {plugin.distribution}"
    elif isinstance(error, SystemExit):
        remedy = f"a plugin must not end the program; {remedy}"
    return Finding(stage=stage, message=message, remedy=remedy, cause=error)


def _promise_faults(manifest: Manifest, hooks: Hooks, module: Any) -> list[Finding]:
    """Hooks that connector.json lists and the module lacks, and the other way round."""
    listed = set(manifest.hooks) | ({"peft_studio_cli"} if manifest.commands else set())
    written = set(hooks.implemented(module)) - {DELIVERY}
    found = unknown_hooks(manifest, hooks.names)
    for hook in sorted((listed & set(hooks.names)) - written - {DELIVERY}):
        reason = "commands" if hook == "peft_studio_cli" and hook not in manifest.hooks else f"the hook {hook}"
        message = f"connector.json lists {reason}, but the plugin does not implement {hook}"
        found.append(Finding(stage=Stage.AGREEMENT, message=message, remedy=f"write {hook}, or take it off the list"))
    for hook in sorted(written - listed):
        message = f"{hook} is not listed in connector.json, so it is not called before the plugin is used"
        remedy = f'add "{hook}" to hooks in connector.json'
        if hook == "peft_studio_cli":
            remedy = "add the commands to commands in connector.json"
        found.append(Finding(stage=Stage.AGREEMENT, message=message, remedy=remedy, severity=Severity.WARNING))
    return found


def _nothing_delivered(plugin: Plugin) -> Finding:
    return Finding(
        stage=Stage.DELIVERY,
        message=f"{plugin.value} does not implement {DELIVERY}",
        remedy="write it, or, for a plugin with hooks alone, list them under hooks in connector.json and no features",
    )


def _taken(plugin: Plugin) -> Finding:
    return Finding(
        stage=Stage.DISCOVERY,
        message=f"{plugin.value} belongs to another connector already; one module delivers one connector",
        remedy=f"report it to the author of {plugin.distribution}",
    )


def _disagrees(field: str, first: str, mine: Any, second: str, its: Any) -> Finding:
    return Finding(
        stage=Stage.AGREEMENT,
        message=f"{field} is {mine!r} in {first} and {its!r} in {second}",
        remedy="make them say the same",
    )


def _quoted(text: str, longest: int = 60) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= longest else f"{line[:longest]}…")


def _forget_modules(plugin: Plugin, known: set[str]) -> None:
    """Drop what a failed import left behind, so that a mended plugin is read afresh."""
    for name in set(sys.modules) - known:
        if name == plugin.package or name.startswith(f"{plugin.package}."):
            del sys.modules[name]

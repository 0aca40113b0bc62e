"""The connectors of one program: listed from metadata and connector.json, activated by name, checked in depth.

A registry is an object; there is no global one. Listing imports no third-party code. The disk is scanned once, at the
first question, and again after `refresh`.
"""

from __future__ import annotations

import builtins
import importlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft_studio._entry import Entry, inspect
from peft_studio._memory import FailureMemory
from peft_studio.discovery import Candidate, scan
from peft_studio.errors import BrokenConnector, ConnectorNotFound
from peft_studio.policy import Policy
from peft_studio.records import FEATURES, Broken, ConnectorRecord, Finding, Plugin, State

if TYPE_CHECKING:
    from peft_studio.connector import PlatformConnector
    from peft_studio.hooks import Hooks, Outcome
    from peft_studio.manifest import Command

#: Platforms that the project itself publishes a connector for, as `peft-studio-<name>`.
FIRST_PARTY = ("huggingface", "local", "runpod", "wandb")

#: Longest time that a plugin may take for its import, and again for its delivery hook, seconds.
IMPORT_LIMIT = 10.0


class ConnectorRegistry:
    """Finds, describes, activates and checks connectors.

    `path` are the directories to look in (default: sys.path); they are added to sys.path when a plugin is imported.
    `policy` defaults to the user's own (environment and settings.toml). `extra` are connector classes that need no
    entry point. Raises `InvalidConfig` for a settings.toml that cannot be read.
    """

    def __init__(
        self,
        path: Sequence[str | Path] | None = None,
        policy: Policy | None = None,
        extra: Iterable[type[PlatformConnector]] = (),
        *,
        import_limit: float = IMPORT_LIMIT,
    ) -> None:
        self.policy = Policy.load() if policy is None else policy
        self._path = None if path is None else [str(entry) for entry in path]
        self._import_limit = import_limit
        self._memory = FailureMemory()
        self._lock = threading.RLock()
        self._scanned: dict[str, tuple[Candidate, ...]] | None = None
        self._entries: dict[str, Entry] = {}
        self._registered: dict[str, type[PlatformConnector]] = {}
        self._hooks: Hooks | None = None
        for connector in extra:
            self.register(connector)

    def refresh(self) -> None:
        """Look at the disk again. Active connectors stay active; broken ones get another chance."""
        with self._lock:
            importlib.invalidate_caches()
            self._memory.refresh()
            self._scanned = None
            self._entries = {name: entry for name, entry in self._entries.items() if entry.is_active}

    def list(self) -> builtins.list[ConnectorRecord]:
        """Every connector, by name. Imports none of them."""
        return [self.describe(name) for name in sorted({*self._scan(), *self._registered})]

    def plugins(self) -> builtins.list[Plugin]:
        """Every installed plugin, those that policy keeps out and that share a name included. Imports none of them."""
        return [candidate.plugin for candidates in self._scan().values() for candidate in candidates]

    def describe(self, name: str) -> ConnectorRecord:
        """What is known of one connector without importing it. Raises `ConnectorNotFound`."""
        if name in self._registered:
            return _registered_record(self._registered[name])
        return self._entry(name).record()

    def by_feature(self, feature: str) -> builtins.list[ConnectorRecord]:
        """Connectors that declare `feature` (one of `FEATURES`) and that nothing is known to stop.

        A plugin without connector.json is not among them until it is active: its features are not known before.
        """
        if feature not in FEATURES:
            raise ValueError(f"{feature!r} is not a feature; the features are {', '.join(FEATURES)}")
        return [record for record in self.list() if record.is_usable and feature in record.features]

    def activate(self, name: str) -> type[PlatformConnector]:
        """The connector class, imported and checked; the same one each time.

        Raises `ConnectorNotFound`, and `BrokenConnector` with the first fault and what mends it.
        """
        if name in self._registered:
            return self._registered[name]
        entry = self._activated(name)
        if entry.connector is None:
            raise BrokenConnector(f"{name} only adds hooks; there is nothing to connect to", connector=entry.label)
        return entry.connector

    def check(self, name: str) -> builtins.list[Finding]:
        """Everything there is to say about one connector. Imports it, unless what is known already forbids that."""
        if name in self._registered:
            from peft_studio.validation import validate

            return validate(self._registered[name])
        with self._lock:
            entry = self._entry(name)
            if entry.is_active or not entry.may_be_imported:
                return entry.all_findings()
            self._entries.pop(name)
            entry = self._entry(name)
            self._attempt(entry)
            return entry.all_findings()

    def findings(self, name: str) -> builtins.list[Finding]:
        """What there is to say about an installed connector without importing it, advice included."""
        return self._entry(name).all_findings()

    def broken(self, name: str) -> Broken | None:
        """Why the plugin of that name cannot be used, as far as is known; None for all else. Imports nothing."""
        entry = None if name in self._registered else self._entry(name)
        if entry is None or entry.plugin is None or entry.is_disabled or entry.fault is None:
            return None
        return Broken.from_finding(entry.plugin, entry.fault)

    def register(self, connector: type[PlatformConnector]) -> None:
        """Add a class without an entry point. It takes precedence over an installed connector of its name.

        Raises `BrokenConnector` with every fault, and for a name that another class was registered under.
        """
        from peft_studio.validation import validate

        faults = [finding for finding in validate(connector) if finding.is_fault]
        if faults:
            label = getattr(connector, "__name__", repr(connector))
            raise BrokenConnector(
                f"{label} is not a connector", why="; ".join(map(str, faults)), remedy=faults[0].remedy
            )
        known = self._registered.setdefault(connector.name, connector)
        if known is not connector:
            why = f"{known.__qualname__} has it already"
            raise BrokenConnector(
                f"cannot register {connector.__qualname__} as {connector.name}", why=why, remedy="rename one"
            )

    def add_plugin(self, plugin: object, name: str | None = None) -> None:
        """Add a plugin module or object of the embedding program: its hooks, and the connector that it delivers.

        The same one added again changes nothing. Raises `BrokenConnector` with every fault of its hooks and connector.
        """
        from peft_studio.hooks import DELIVERY

        label = name or str(getattr(plugin, "__name__", type(plugin).__qualname__))
        faults = self.hooks.inspect(plugin)
        if faults:
            raise BrokenConnector(f"{label} is not a plugin", why="; ".join(map(str, faults)), remedy=faults[0].remedy)
        if self.hooks.is_registered(plugin):
            return
        self.hooks.register(plugin, self.hooks.free_name(label))
        if DELIVERY in self.hooks.implemented(plugin):
            self.register(self.hooks.deliver(plugin))

    @property
    def hooks(self) -> Hooks:
        """The hook engine of this registry; loaded when it is first needed."""
        from peft_studio.hooks import Hooks

        with self._lock:
            if self._hooks is None:
                self._hooks = Hooks()
            return self._hooks

    def prepare(self, hook: str, only: str | None = None) -> builtins.list[Outcome]:
        """Activate the plugins that list `hook` in connector.json, or the plugin `only`; returns those that failed."""
        failures = []
        for name in [only] if only else [name for name in self._scan() if name not in self._registered]:
            entry = self._entry(name)
            if entry.is_active or entry.is_disabled or not entry.lists(hook):
                continue
            try:
                self._activated(name)
            except BrokenConnector as error:
                from peft_studio.hooks import Outcome

                failures.append(Outcome(entry.label, error=error))
        return failures

    def ask(self, hook: str, *, only: str | None = None, **arguments: Any) -> Iterator[Outcome]:
        """Call `hook` of every plugin that implements it, or of the plugin `only`; one outcome each, failures included.

        Plugins that are not active yet and list the hook in connector.json are activated first.
        """
        yield from self.prepare(hook, only)
        if self._hooks is not None:
            yield from self._hooks.ask(hook, [self.label(only)] if only else None, **arguments)

    def commands(self) -> builtins.list[tuple[str, Command]]:
        """Commands that usable plugins add, each with the plugin's name, told from connector.json alone."""
        described = [(record.name, record.manifest) for record in self.list() if record.is_usable]
        return [(name, command) for name, manifest in described if manifest for command in manifest.commands]

    def label(self, name: str) -> str:
        """How errors name a connector: ``runpod (peft-studio-runpod 0.1.0)``."""
        if name in self._registered:
            return f"{name} ({self._registered[name].version})"
        return self._entry(name).label

    def _scan(self) -> dict[str, tuple[Candidate, ...]]:
        with self._lock:
            if self._scanned is None:
                self._scanned = scan(self._path)
            return self._scanned

    def _entry(self, name: str) -> Entry:
        with self._lock:
            if name not in self._entries:
                if name not in self._scan():
                    raise _not_found(name, [*self._scan(), *self._registered])
                self._entries[name] = inspect(name, self._scan()[name], self.policy, self._memory, self._path)
            return self._entries[name]

    def _activated(self, name: str) -> Entry:
        """The entry of an active plugin; raises `BrokenConnector` when it cannot be had."""
        entry = self._entry(name)
        with entry.trying:  # not the registry's lock: an import that hangs keeps nobody else waiting
            if not entry.is_active and not entry.was_tried and entry.may_be_imported:
                self._attempt(entry)
        if entry.is_active:
            return entry
        fault = entry.fault
        assert fault is not None
        raise BrokenConnector(
            "it cannot be used", why=fault.message, remedy=fault.remedy, connector=entry.label
        ) from fault.cause

    def _attempt(self, entry: Entry) -> None:
        from peft_studio.activation import attempt

        assert entry.plugin is not None
        trial = attempt(entry.plugin, entry.manifest, self.hooks, limit=self._import_limit, path=self._path)
        entry.record_trial(trial)
        if entry.broken is None:
            self._memory.forget(entry.plugin)
        else:
            self._memory.remember(entry.broken, entry.package)


def _registered_record(connector: type[PlatformConnector]) -> ConnectorRecord:
    from peft_studio.validation import features_of

    return ConnectorRecord(
        name=connector.name,
        state=State.ACTIVE,
        display_name=connector.display_name,
        description=connector.description,
        version=connector.version,
        features=features_of(connector),
    )


def _not_found(name: str, known: Sequence[str]) -> ConnectorNotFound:
    from difflib import get_close_matches  # here: nearly every command does without

    guesses = get_close_matches(name, known, n=3, cutoff=0.6)
    installable = get_close_matches(name, FIRST_PARTY, n=1, cutoff=0.8)
    installed = f"the installed ones are {', '.join(sorted(known))}" if known else "none is installed"
    remedy = "see: peft-studio connectors list"
    if installable and installable[0] not in known:
        remedy = f"pip install peft-studio-{installable[0]}"
    elif guesses:
        remedy = f"did you mean {' or '.join(guesses)}?"
    return ConnectorNotFound(f"there is no connector {name!r}", why=installed, remedy=remedy)

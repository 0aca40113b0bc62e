"""The hook engine: plugins registered one by one, and asked one by one.

A call through pluggy ends with the first implementation that raises, and its results do not say whose they are. Here
each implementation is called by itself and gives an `Outcome` with the plugin's name; a failing one costs the others
nothing. Faults that pluggy accepts in silence, such as a misspelt hook, are looked for before registering.
"""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator
from difflib import get_close_matches
from itertools import count
from types import FunctionType
from typing import Any

import pluggy
from attrs import frozen

from peft_studio import hookspecs
from peft_studio.records import Finding, Stage

PREFIX = "peft_studio_"
DELIVERY = "peft_studio_connector"


@frozen
class Outcome:
    """What one plugin answered to a hook, or the exception it answered with."""

    plugin: str
    value: Any = None
    error: BaseException | None = None


class Hooks:
    """The plugins of one registry. There is no global instance."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(hookspecs.PROJECT_NAME)
        self._manager.add_hookspecs(hookspecs)
        self.names = sorted(name for name in vars(self._manager.hook) if name.startswith(PREFIX))

    def inspect(self, plugin: object) -> list[Finding]:
        """Faults in the hook functions of `plugin`: wrong names, wrong arguments, missing marks, wrappers."""
        found = []
        for name, function in _functions(plugin):
            found += self._faults_of(name, function, plugin)
        return found

    def implemented(self, plugin: object) -> list[str]:
        """Names of the hooks that `plugin` implements."""
        marked = [name for name, _ in _functions(plugin) if self._options(plugin, name) is not None]
        return [name for name in marked if name in self.names]

    def register(self, plugin: object, name: str) -> None:
        """Add `plugin` under `name`. Look at `inspect` first: pluggy raises at some of the faults named there."""
        self._manager.register(plugin, name)

    def free_name(self, name: str) -> str:
        """The name itself, or with a number that makes it one that nobody has: two plugins may be of one class."""
        names = (name if number == 1 else f"{name} {number}" for number in count(1))
        return next(free for free in names if not self._manager.has_plugin(free))

    def unregister(self, name: str) -> None:
        """Take the plugin with that name out again; unknown ones are ignored."""
        if self._manager.has_plugin(name):
            self._manager.unregister(name=name)

    def is_registered(self, plugin: object) -> bool:
        """True when this very module or object is in, under whatever name."""
        return self._manager.is_registered(plugin)

    def deliver(self, plugin: object) -> Any:
        """Call the delivery hook of exactly this plugin, whatever others are registered."""
        for implementation in getattr(self._manager.hook, DELIVERY).get_hookimpls():
            if implementation.plugin is plugin:
                return implementation.function()
        raise LookupError(DELIVERY)

    def ask(self, hook: str, names: Collection[str] | None = None, **arguments: Any) -> Iterator[Outcome]:
        """Call `hook` of every plugin in turn, or of those with these names.

        The order is pluggy's: tryfirst, then the last registered, then trylast.
        """
        for implementation in reversed(getattr(self._manager.hook, hook).get_hookimpls()):
            if names is not None and implementation.plugin_name not in names:
                continue
            given = [arguments[name] for name in implementation.argnames]
            try:
                yield Outcome(implementation.plugin_name, implementation.function(*given))
            except (Exception, SystemExit) as error:  # noqa: BLE001 -- whatever a plugin raises is its outcome
                yield Outcome(implementation.plugin_name, error=error)

    def _options(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        return self._manager.parse_hookimpl_opts(plugin, name)

    def _faults_of(self, name: str, function: FunctionType, plugin: object) -> list[Finding]:
        options = self._options(plugin, name)
        if options is None:
            is_ours = name.startswith(PREFIX)
            return [_fault(f"{name} is not marked as a hook", f"write @hookimpl above def {name}")] if is_ours else []
        if (options["specname"] or name) not in self.names:
            return [] if options["optionalhook"] else [self._misspelt(options["specname"] or name)]
        if options["wrapper"] or options["hookwrapper"]:
            return [
                _fault(f"{name} is a hook wrapper; hooks are called one by one here", "write a plain hook function")
            ]
        return self._argument_faults(options["specname"] or name, function)

    def _misspelt(self, name: str) -> Finding:
        guesses = get_close_matches(name, self.names, n=1, cutoff=0.6)
        remedy = f"did you mean {guesses[0]}?" if guesses else f"the hooks are {', '.join(self.names)}"
        return _fault(f"{name} is marked as a hook, but there is no hook of that name", remedy)

    def _argument_faults(self, name: str, function: FunctionType) -> list[Finding]:
        documented = list(inspect.signature(getattr(hookspecs, name)).parameters)
        faults = []
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name == "self":
                continue
            if parameter.name not in documented or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                faults.append(
                    _fault(f"{name} asks for {parameter}, which the hook does not pass", _fits(name, documented))
                )
            elif parameter.default is not parameter.empty:
                faults.append(
                    _fault(f"{name} gives {parameter.name} a default, so it is never passed", "drop the default")
                )
        return faults


def _fits(name: str, documented: list[str]) -> str:
    return f"write def {name}({', '.join(documented)}); leave out what you do not need"


def _functions(plugin: object) -> Iterator[tuple[str, FunctionType]]:
    """Public functions of a module or object, in a fixed order; attributes that are made on demand are left alone."""
    names = vars(plugin) if inspect.ismodule(plugin) else dir(plugin)
    for name in sorted(names):
        if name.startswith("_"):
            continue
        value = inspect.unwrap(getattr(plugin, name)) if callable(getattr(plugin, name)) else None
        function = getattr(value, "__func__", value)
        if isinstance(function, FunctionType):
            yield name, function


def _fault(message: str, remedy: str) -> Finding:
    return Finding(stage=Stage.HOOKS, message=message, remedy=remedy)

"""`peft-studio connectors policy|allow|deny|pin`: who may be imported, shown and changed in settings.toml."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any

import click

from peft_studio._metadata import normalized
from peft_studio.cli.output import json_option, print_json, print_table
from peft_studio.discovery import scan
from peft_studio.errors import ConnectorNotFound
from peft_studio.policy import ALLOW_VARIABLE, Policy, means, read_settings, settings_file, sources
from peft_studio.policy_file import PolicyFile
from peft_studio.records import Plugin
from peft_studio.registry import ConnectorRegistry


def _complete_name(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Connectors and distributions; with --remove, those that are on the list."""
    if context.params.get("remove"):
        return _starting(read_settings(settings_file()).get(str(context.info_name), ()), incomplete)
    return _starting(_known_names(), incomplete)


def _complete_pinned(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Connectors; with --remove, those that are pinned."""
    names = read_settings(settings_file()).get("pin", ()) if context.params.get("remove") else scan()
    return _starting(names, incomplete)


def _complete_owner(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Distributions that claim the name before."""
    claimants = [plugin for plugin in _plugins() if plugin.name == context.params.get("name")]
    return _starting((plugin.distribution for plugin in claimants), incomplete)


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})


remove_option = click.option("--remove", is_flag=True, is_eager=True, help="Take it out again.")


@click.command()
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=_complete_name)
@remove_option
@click.option("--everybody", is_flag=True, help="Do away with the list: whoever is not denied is allowed.")
@json_option
@click.pass_context
def allow(context: click.Context, names: tuple[str, ...], remove: bool, everybody: bool, as_json: bool) -> None:
    """Let in these connectors or distributions, and nobody who is not on the list.

    The first name on the list shuts all others out, and so does a list that has become empty.
    """
    if everybody == bool(names) or (everybody and remove):
        context.fail("give names, or --everybody alone")
    file = PolicyFile()
    if everybody:
        was_there = file.drop("allow")
        lines = ["the allow list is gone" if was_there else "there was no allow list"]
        _tell(lines, ["allow"] if was_there else [], _overridden(), as_json=as_json)
        return
    changed = file.remove("allow", names) if remove else file.add("allow", names)
    words = ("no longer allowed", "was not on the list") if remove else ("allowed", "allowed already")
    notes = [*_overridden(), *_surprises(names, is_wanted=not remove), *_shut_out(names)]
    _tell(_lines(names, changed, words), changed, notes, as_json=as_json)


@click.command()
@click.argument("names", metavar="NAME...", nargs=-1, required=True, shell_complete=_complete_name)
@remove_option
@json_option
def deny(names: tuple[str, ...], remove: bool, as_json: bool) -> None:
    """Keep these connectors or distributions out, whatever else lets them in."""
    file = PolicyFile()
    changed = file.remove("deny", names) if remove else file.add("deny", names)
    words = ("no longer denied", "was not on the list") if remove else ("denied", "denied already")
    _tell(_lines(names, changed, words), changed, _surprises(names, is_wanted=remove), as_json=as_json)


@click.command()
@click.argument("name", shell_complete=_complete_pinned)
@click.argument("distribution", required=False, shell_complete=_complete_owner)
@remove_option
@json_option
@click.pass_context
def pin(context: click.Context, name: str, distribution: str | None, remove: bool, as_json: bool) -> None:
    """Say that the connector NAME belongs to DISTRIBUTION, and to nobody else."""
    if remove == (distribution is not None):
        context.fail("give a distribution, or --remove")
    if distribution is None:
        before = PolicyFile().unpin(name)
        words, notes = ("no longer pinned", "was not pinned"), []
        changed = [] if before is None else [name]
    else:
        owner = _claimant(name, distribution).distribution
        changed = [] if PolicyFile().pin(name, owner) == owner else [name]
        words, notes = (f"pinned to {owner}", f"pinned to {owner} already"), _surprises([name], is_wanted=True)
    _tell(_lines([name], changed, words), changed, notes, as_json=as_json)


@click.command()
@json_option
def policy(as_json: bool) -> None:
    """Who may be imported, and which variable or file says so."""
    if as_json:
        print_json(_as_dict())
        return
    allowing = [(_joined(source.allow), source.where) for source in sources() if source.allow is not None]
    rows = [("allow", names, f"{where}{', replaced' if n else ''}") for n, (names, where) in enumerate(allowing)]
    rows += [("deny", _joined(source.deny), source.where) for source in sources() if source.deny]
    rows += [("pin", f"{name} = {owner}", each.where) for each in sources() for name, owner in each.pin.items()]
    if rows:
        print_table(("SETTING", "NAMES", "SOURCE"), rows)
    else:
        click.echo(f"every plugin may be imported; a policy would stand in {settings_file()}", err=True)


def _as_dict() -> dict[str, Any]:
    effective = Policy.load()
    return {
        "settings": str(settings_file()),
        "allow": None if effective.allow is None else sorted(effective.allow),
        "deny": sorted(effective.deny),
        "pin": dict(effective.pin),
        "sources": [
            {
                "source": source.where,
                "allow": None if source.allow is None else sorted(source.allow),
                "deny": sorted(source.deny),
                "pin": dict(source.pin),
            }
            for source in sources()
        ],
    }


def _tell(lines: Sequence[str], changed: Sequence[str], notes: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        print_json({"changed": list(changed), "notes": list(notes), "policy": _as_dict()})
        return
    for line in lines:
        click.echo(line)
    for note in notes:
        click.echo(f"{click.style('note', fg='yellow')}: {note}", err=True)


def _lines(names: Sequence[str], changed: Sequence[str], words: tuple[str, str]) -> list[str]:
    return [f"{name}: {words[0] if name in changed else words[1]}" for name in dict.fromkeys(names)]


def _overridden() -> list[str]:
    """The environment has an allow list of its own."""
    is_set = any(source.where == ALLOW_VARIABLE and source.allow is not None for source in sources())
    return [f"{ALLOW_VARIABLE} is set, and its list counts instead of this one"] if is_set else []


def _surprises(names: Sequence[str], *, is_wanted: bool) -> list[str]:
    """What is in, or out, against the wish that was just written, and names that nobody has."""
    registry = ConnectorRegistry()
    notes = []
    for name in dict.fromkeys(names):
        meant = {plugin.name for plugin in _plugins() if means(name, plugin)}
        if not meant and is_wanted:
            near = get_close_matches(name, _known_names(), n=1)
            notes.append(f"nothing installed is called {name}" + (f"; did you mean {near[0]}?" if near else ""))
        for record in map(registry.describe, sorted(meant)):
            if is_wanted and not record.is_usable:
                fault = record.problems[0]
                notes.append(f"{record.name} is {record.state} all the same: {fault}; try: {fault.remedy}")
            elif not is_wanted and record.is_usable:
                notes.append(f"{record.name} may be imported all the same")
    return notes


def _shut_out(names: Sequence[str]) -> list[str]:
    """Everybody else whom policy keeps out now."""
    effective = Policy.load()
    out = {
        plugin.name
        for plugin in _plugins()
        if effective.refusal(plugin) and not any(means(name, plugin) for name in names)
    }
    return [f"kept out now: {_joined(out)}"] if out else []


def _claimant(name: str, distribution: str) -> Plugin:
    """The plugin of that distribution that claims the name; raises `ConnectorNotFound` with those that do."""
    claimants = [plugin for plugin in _plugins() if plugin.name == name]
    for plugin in claimants:
        if normalized(plugin.distribution) == normalized(distribution):
            return plugin
    if claimants:
        why = f"{' and '.join(plugin.origin for plugin in claimants)} {'does' if len(claimants) == 1 else 'do'}"
        remedy = " or ".join(f"peft-studio connectors pin {name} {plugin.distribution}" for plugin in claimants)
        raise ConnectorNotFound(f"{distribution} delivers no connector {name}", why=why, remedy=remedy)
    near = get_close_matches(name, [plugin.name for plugin in _plugins()], n=1)
    remedy = f"did you mean {near[0]}?" if near else "see: peft-studio connectors list"
    raise ConnectorNotFound(
        f"there is no connector {name!r} to pin", why="nothing installed delivers it", remedy=remedy
    )


def _plugins() -> list[Plugin]:
    return [candidate.plugin for candidates in scan().values() for candidate in candidates]


def _known_names() -> list[str]:
    return sorted({name for plugin in _plugins() for name in (plugin.name, plugin.distribution)})


def _joined(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "nobody"

"""Hooks: who is asked, who answers, and what a failure costs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from peft_studio import hookimpl
from peft_studio.errors import BrokenConnector
from peft_studio.registry import ConnectorRegistry

from .sources import REVIEWER, WORKING, Mine


def test_a_plugin_with_hooks_alone_needs_no_connector(site: Any) -> None:
    """Its manifest says so; there is nothing to connect to."""
    site.add("guard", plugin=REVIEWER, changes={"features": {}, "hooks": ["peft_studio_review_job"]})
    registry = ConnectorRegistry([site.root])

    assert [] == registry.check("guard")
    with pytest.raises(BrokenConnector, match="guard only adds hooks; there is nothing to connect to"):
        registry.activate("guard")


def test_a_hook_activates_who_lists_it_and_nobody_else(site: Any) -> None:
    """Plugins that do not list the hook stay unimported."""
    guard = site.add("guard", plugin=REVIEWER, changes={"features": {}, "hooks": ["peft_studio_review_job"]})
    site.add("acme")
    registry = ConnectorRegistry([site.root])

    class Config:
        base_model = "m"

    (outcome,) = registry.ask("peft_studio_review_job", connector="acme", config=Config())

    assert ("guard (peft-studio-guard 1.0.0)", ["guard says no to m"]) == (
        outcome.plugin,
        [str(problem) for problem in outcome.value],
    )
    assert [guard.package] == site.imported()


def test_a_hook_that_fails_costs_the_others_nothing(site: Any) -> None:
    """One outcome each; a plugin that cannot even be imported has one too."""
    hooks = {"features": {}, "hooks": ["peft_studio_review_job"]}
    site.add("bad", plugin=REVIEWER.replace("return [", "raise SystemExit([").replace('")]', '")])'), changes=hooks)
    site.add("gone", plugin="raise ImportError('nope')", changes=hooks)
    site.add("good", plugin=REVIEWER, changes=hooks)

    class Config:
        base_model = "m"

    outcomes = list(ConnectorRegistry([site.root]).ask("peft_studio_review_job", connector="x", config=Config()))
    by_plugin = {outcome.plugin.partition(" ")[0]: outcome for outcome in outcomes}

    assert isinstance(by_plugin["bad"].error, SystemExit)
    assert isinstance(by_plugin["gone"].error, BrokenConnector)
    assert "good says no to m" == str(by_plugin["good"].value[0])


def test_commands_are_known_without_an_import_and_come_from_their_plugin(site: Any) -> None:
    """`--help` reads connector.json; only the plugin of the command that is used is imported."""
    cli = "\n\n@hookimpl\ndef peft_studio_cli(group):\n    group.append('NAME')\n"
    for name in ("one", "two"):
        site.add(name, plugin=WORKING + cli, changes={"commands": [{"name": name, "help": f"Do {name}."}]})
    registry = ConnectorRegistry([site.root])
    listed = [(plugin, command.name, command.help) for plugin, command in registry.commands()]
    group: list[str] = []

    assert [("one", "one", "Do one."), ("two", "two", "Do two.")] == listed
    assert [] == site.imported()
    assert [None] == [outcome.error for outcome in registry.ask("peft_studio_cli", only="two", group=group)]
    assert [site.packages[1]] == site.imported()
    assert [None] == [outcome.error for outcome in registry.ask("peft_studio_cli", only="one", group=group)]
    assert ["two", "one"] == group


def test_a_programs_own_plugin_brings_hooks_and_a_connector(tmp_path: Path) -> None:
    """Without an entry point and without a distribution."""

    class Plugin:
        @hookimpl
        def peft_studio_connector(self):
            return Mine

        @hookimpl
        def peft_studio_credential(self, field):
            return f"the {field}"

    registry = ConnectorRegistry([tmp_path])
    registry.add_plugin(Plugin())

    assert Mine is registry.activate("mine")
    assert ["the key"] == [o.value for o in registry.ask("peft_studio_credential", connector="mine", field="key")]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "@hookimpl\ndef peft_studio_credential(connector, field='x'): ...",
            "gives field a default, so it is never passed",
        ),
        ("@hookimpl\ndef peft_studio_credential(**kwargs): ...", r"asks for \*\*kwargs, which the hook does not pass"),
        (
            "@hookimpl(wrapper=True)\ndef peft_studio_credential(): yield",
            "is a hook wrapper; hooks are called one by one",
        ),
        ("@hookimpl\ndef peft_studio_credentials(): ...", "there is no hook of that name"),
    ],
    ids=["default", "anything", "wrapper", "misspelt"],
)
def test_hooks_that_would_never_be_called_are_refused(source: str, message: str, tmp_path: Path) -> None:
    """Each of these is accepted by pluggy in silence."""
    file = tmp_path / "hooks_of_mine.py"
    file.write_text(f"from peft_studio import hookimpl\n{source}\n")
    spec = importlib.util.spec_from_file_location("hooks_of_mine", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    with pytest.raises(BrokenConnector, match=message):
        ConnectorRegistry([tmp_path]).add_plugin(module)


def test_two_plugins_of_one_class_are_two(tmp_path: Path) -> None:
    """Each has a name of its own; one that is added again is still one."""

    class Vault:
        @hookimpl
        def peft_studio_credential(self):
            return None

    registry, first, second = ConnectorRegistry([tmp_path]), Vault(), Vault()
    for plugin in (first, second, first):
        registry.add_plugin(plugin, "vault")

    outcomes = registry.ask("peft_studio_credential", connector="mine", field="key")
    assert ["vault 2", "vault"] == [outcome.plugin for outcome in outcomes]

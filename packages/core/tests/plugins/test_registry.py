"""The registry: by name, by feature, by hand; and what it remembers of failures."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from peft_studio import PlatformConnector, hookimpl
from peft_studio._memory import FILE_NAME
from peft_studio.errors import BrokenConnector, ConnectorNotFound
from peft_studio.registry import ConnectorRegistry

OBSERVER = """
from peft_studio import hookimpl
from peft_studio.models import Problem

@hookimpl
def peft_studio_review_job(config):
    return [Problem(message=f"NAME says no to {config.base_model}")]
"""


class Mine(PlatformConnector):
    """A connector of an embedding program."""

    name = "mine"
    display_name = "Mine"
    description = "Of the program itself"
    version = "3.0"

    async def connect(self, credentials): ...

    async def disconnect(self): ...


def test_a_connector_is_imported_once(site: Any) -> None:
    """The same class each time, and the record says so."""
    site.add("acme")
    registry = ConnectorRegistry([site.root])

    assert registry.activate("acme") is registry.activate("acme")
    assert "active" == registry.describe("acme").state


def test_two_threads_get_one_class(site: Any) -> None:
    """Activation is done once, whoever asks."""
    site.add("acme", plugin="import time; time.sleep(0.05)\n" + site_plugin())
    registry = ConnectorRegistry([site.root])
    got: list[type] = []
    threads = [threading.Thread(target=lambda: got.append(registry.activate("acme"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 4 == len(got)
    assert 1 == len(set(got))


def site_plugin() -> str:
    """The plugin module that works."""
    return (
        "from peft_studio import hookimpl\n\n@hookimpl\ndef peft_studio_connector():\n"
        "    from PACKAGE.connector import Connector\n    return Connector\n"
    )


def test_an_unknown_name_gets_near_ones(site: Any) -> None:
    """What may have been meant, and what there is."""
    site.add("runpod")
    with pytest.raises(ConnectorNotFound) as caught:
        ConnectorRegistry([site.root]).activate("runpot")

    assert "there is no connector 'runpot': the installed ones are runpod" == str(caught.value)
    assert "did you mean runpod?" == caught.value.remedy


def test_a_first_party_platform_gets_its_install_command(tmp_path: Path) -> None:
    """Only for distributions that exist."""
    registry = ConnectorRegistry([tmp_path])
    remedies = []
    for name in ("local", "made-up"):
        with pytest.raises(ConnectorNotFound) as caught:
            registry.describe(name)
        remedies.append(caught.value.remedy)

    assert ["pip install peft-studio-local", "see: peft-studio connectors list"] == remedies


def test_by_feature_lists_who_declares_it_and_is_usable(site: Any) -> None:
    """Broken ones are left out; an unknown feature is a mistake of the caller."""
    site.add("trains")
    site.add("keeps", changes={"features": {"registry": True}})
    site.add("old", requires=["peft-studio>=99"])
    registry = ConnectorRegistry([site.root])

    assert ["trains"] == [record.name for record in registry.by_feature("training")]
    assert ["keeps"] == [record.name for record in registry.by_feature("registry")]
    with pytest.raises(ValueError, match="'chat' is not a feature; the features are training, inference"):
        registry.by_feature("chat")


def test_a_class_can_be_registered_without_an_entry_point(site: Any) -> None:
    """It stands in the list beside the installed ones."""
    site.add("acme")
    registry = ConnectorRegistry([site.root], extra=[Mine])

    assert [("acme", "described"), ("mine", "active")] == [(r.name, str(r.state)) for r in registry.list()]
    assert Mine is registry.activate("mine")
    assert "mine (3.0)" == registry.label("mine")


def test_the_programs_own_class_takes_precedence(site: Any) -> None:
    """Whoever registers by hand means it; the installed one is not imported."""
    site.add("mine")
    registry = ConnectorRegistry([site.root], extra=[Mine])

    assert Mine is registry.activate("mine")
    assert 1 == len(registry.list())
    assert [] == site.imported()


def test_two_classes_cannot_share_a_name(tmp_path: Path) -> None:
    """Registering the same class again changes nothing; another one is refused."""
    registry = ConnectorRegistry([tmp_path], extra=[Mine])
    registry.register(Mine)
    with pytest.raises(BrokenConnector, match="cannot register Other as mine: Mine has it already"):
        registry.register(type("Other", (Mine,), {}))


def test_registering_a_broken_class_tells_every_fault(tmp_path: Path) -> None:
    """The same sentences as for a plugin."""
    with pytest.raises(BrokenConnector) as caught:
        ConnectorRegistry([tmp_path]).register(type("Bad", (Mine,), {"name": "", "version": None}))

    assert "Bad is not a connector: Bad.name must be a text, not ''; Bad.version is missing" == str(caught.value)


def test_a_failure_keeps_its_cause(site: Any) -> None:
    """The exception of the plugin is the cause of ours."""
    site.add("acme", plugin="raise KeyError('x')")
    with pytest.raises(BrokenConnector) as caught:
        ConnectorRegistry([site.root]).activate("acme")

    assert "acme (peft-studio-acme 1.0.0)" == caught.value.connector
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_failure_leaves_no_modules_and_no_hooks_behind(site: Any) -> None:
    """The plugin is as if it had never been imported."""
    site.add("acme", swap={'    version = "1.0.0"\n': ""}, plugin=site_plugin() + OBSERVER.replace("NAME", "acme"))
    registry = ConnectorRegistry([site.root])
    with pytest.raises(BrokenConnector):
        registry.activate("acme")

    assert [] == site.imported()
    assert [] == list(registry.hooks.ask("peft_studio_review_job", connector="x", config=None))


def test_a_failed_plugin_is_not_imported_again_and_again(site: Any) -> None:
    """One process tries once; `check` and `refresh` try anew."""
    site.add("acme", plugin="import builtins; builtins.tries = getattr(builtins, 'tries', 0) + 1; raise ValueError")
    registry = ConnectorRegistry([site.root])
    counts = []
    import builtins

    for step in (registry.activate, registry.activate, registry.check, lambda _: registry.refresh(), registry.activate):
        with suppress(BrokenConnector):
            step("acme")
        counts.append(builtins.tries)  # type: ignore[attr-defined]
    del builtins.tries  # type: ignore[attr-defined]

    assert [1, 1, 2, 2, 3] == counts


def test_a_mended_plugin_works_after_refresh(site: Any) -> None:
    """In the same process, from the mended file."""
    installed = site.add("acme", plugin="raise ValueError")
    registry = ConnectorRegistry([site.root])
    with pytest.raises(BrokenConnector):
        registry.activate("acme")
    (installed.folder / "plugin.py").write_text(site_plugin().replace("PACKAGE", installed.package))
    registry.refresh()

    assert "acme" == registry.activate("acme").name


def test_a_failure_is_remembered_by_the_next_process(site: Any) -> None:
    """A list shows it red without importing it, and says what it said."""
    site.add("acme", plugin="raise ValueError('no')")
    ConnectorRegistry([site.root]).check("acme")
    record = ConnectorRegistry([site.root]).describe("acme")

    assert "broken" == record.state
    assert [f"importing {site.packages[0]}.plugin raised ValueError: no"] == [p.message for p in record.problems]
    assert [] == site.imported()


@pytest.mark.parametrize("file", ["plugin.py", "connector.py", "connector.json"])
def test_a_plugin_that_changed_is_not_shown_red(file: str, site: Any) -> None:
    """Whatever file was mended, the failure is forgotten."""
    installed = site.add("acme", plugin="raise ValueError('no')")
    ConnectorRegistry([site.root]).check("acme")
    later = max(path.stat().st_mtime for path in installed.folder.iterdir()) + 5
    os.utime(installed.folder / file, (later, later))

    assert "described" == ConnectorRegistry([site.root]).describe("acme").state


def test_an_installation_beside_it_gives_it_another_chance(site: Any) -> None:
    """The module that it lacked may have come."""
    site.add("acme", plugin="import surely_not_installed")
    ConnectorRegistry([site.root]).check("acme")
    os.utime(site.root, (2e9, 2e9))

    assert "described" == ConnectorRegistry([site.root]).describe("acme").state


def test_a_plugin_that_works_again_is_forgotten(site: Any, home: Path) -> None:
    """A failure that had to do with the moment does not stick."""
    site.add("acme", plugin="import os\nif os.environ.get('ACME_BROKEN'): raise ValueError\n" + site_plugin())
    os.environ["ACME_BROKEN"] = "1"
    ConnectorRegistry([site.root]).check("acme")
    del os.environ["ACME_BROKEN"]

    assert "broken" == ConnectorRegistry([site.root]).describe("acme").state
    assert [] == ConnectorRegistry([site.root]).check("acme")
    assert "described" == ConnectorRegistry([site.root]).describe("acme").state
    assert "{}" == (home / "state" / FILE_NAME).read_text()


@pytest.mark.parametrize("content", [b"", b"{torn", b"[]", b'{"x": 3}', b"\xff\xfe", b'{"x": {"stage": "none"}}'])
def test_a_corrupt_memory_does_not_break_the_list(content: bytes, site: Any, home: Path) -> None:
    """It is worth nothing by itself; the next failure writes it anew."""
    site.add("acme", plugin="raise ValueError")
    file = home / "state" / FILE_NAME
    file.parent.mkdir(parents=True)
    file.write_bytes(content)

    assert "described" == ConnectorRegistry([site.root]).describe("acme").state
    ConnectorRegistry([site.root]).check("acme")
    assert "broken" == ConnectorRegistry([site.root]).describe("acme").state


def test_a_memory_that_cannot_be_written_is_done_without(site: Any, home: Path) -> None:
    """The failure itself is told all the same."""
    home.write_text("a file where the directory should be")
    site.add("acme", plugin="raise ValueError")

    assert ["import"] == [str(finding.stage) for finding in ConnectorRegistry([site.root]).check("acme")]


def test_check_tells_everything_at_once(site: Any) -> None:
    """Not only the first fault: hooks, class and agreement in one go."""
    site.add(
        "acme",
        swap={'    version = "1.0.0"\n': "", "async def submit_job": "def submit_job"},
        changes={"display_name": "ACME", "colour": "red", "hooks": ["peft_studio_review_jobs"]},
    )
    findings = ConnectorRegistry([site.root]).check("acme")

    assert [
        ("warning", "connector.json: colour is not a key that is known here"),
        ("warning", "connector.json: lists the hook 'peft_studio_review_jobs', which does not exist"),
        ("fault", "Connector.version is missing"),
        ("fault", "Connector.submit_job is synchronous; it must be async"),
        ("fault", "display_name is 'ACME' in connector.json and 'The acme platform' in Connector"),
    ] == [(str(finding.severity), finding.message) for finding in findings]


def test_a_description_may_be_worded_differently(site: Any) -> None:
    """A warning: the long one for the list, the short one for the class, is no fault."""
    site.add("acme", changes={"description": "Runs jobs, and well"})
    registry = ConnectorRegistry([site.root])

    assert ["warning"] == [str(finding.severity) for finding in registry.check("acme")]
    assert "active" == registry.describe("acme").state


def test_a_plugin_with_hooks_alone_needs_no_connector(site: Any) -> None:
    """Its manifest says so; there is nothing to connect to."""
    site.add("guard", plugin=OBSERVER, changes={"features": {}, "hooks": ["peft_studio_review_job"]})
    registry = ConnectorRegistry([site.root])

    assert [] == registry.check("guard")
    with pytest.raises(BrokenConnector, match="guard only adds hooks; there is nothing to connect to"):
        registry.activate("guard")


def test_a_hook_activates_who_lists_it_and_nobody_else(site: Any) -> None:
    """Plugins that do not list the hook stay unimported."""
    guard = site.add("guard", plugin=OBSERVER, changes={"features": {}, "hooks": ["peft_studio_review_job"]})
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
    site.add("bad", plugin=OBSERVER.replace("return", "raise"), changes=hooks)
    site.add("gone", plugin="raise ImportError('nope')", changes=hooks)
    site.add("good", plugin=OBSERVER, changes=hooks)

    class Config:
        base_model = "m"

    outcomes = list(ConnectorRegistry([site.root]).ask("peft_studio_review_job", connector="x", config=Config()))
    by_plugin = {outcome.plugin.partition(" ")[0]: outcome for outcome in outcomes}

    assert isinstance(by_plugin["bad"].error, TypeError)
    assert isinstance(by_plugin["gone"].error, BrokenConnector)
    assert "good says no to m" == str(by_plugin["good"].value[0])


def test_commands_are_known_without_an_import_and_come_from_their_plugin(site: Any) -> None:
    """`--help` reads connector.json; only the plugin of the command that is used is imported."""
    cli = "\n\n@hookimpl\ndef peft_studio_cli(group):\n    group.append('NAME')\n"
    for name in ("one", "two"):
        site.add(name, plugin=site_plugin() + cli, changes={"commands": [{"name": name, "help": f"Do {name}."}]})
    registry = ConnectorRegistry([site.root])
    listed = [(plugin, command.name, command.help) for plugin, command in registry.commands()]
    group: list[str] = []

    assert [("one", "one", "Do one."), ("two", "two", "Do two.")] == listed
    assert [] == site.imported()
    assert [None] == [outcome.error for outcome in registry.ask("peft_studio_cli", only="two", group=group)]
    assert ["two"] == group
    assert [site.packages[1]] == site.imported()


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


def test_prints_of_other_threads_are_not_caught(site: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the importing thread is blamed; the rest of the program keeps its output."""
    code = "import builtins; builtins.importing.set(); builtins.printed.wait()\n" + site_plugin()
    site.add("acme", plugin=code)
    import builtins

    builtins.importing, builtins.printed = threading.Event(), threading.Event()  # type: ignore[attr-defined]

    def speak() -> None:
        builtins.importing.wait()  # type: ignore[attr-defined]
        print("hello")  # noqa: T201
        builtins.printed.set()  # type: ignore[attr-defined]

    speaker = threading.Thread(target=speak)
    speaker.start()
    ConnectorRegistry([site.root]).activate("acme")
    speaker.join()
    del builtins.importing, builtins.printed  # type: ignore[attr-defined]

    assert "hello\n" == capsys.readouterr().out


def test_ctrl_c_in_a_plugin_gets_out(site: Any) -> None:
    """The one exception that is the user's."""
    site.add("acme", plugin="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        ConnectorRegistry([site.root]).activate("acme")


def test_two_registries_share_nothing(site: Any, tmp_path: Path) -> None:
    """Each has its own plugins, classes and hooks."""
    site.add("acme")
    first, second = ConnectorRegistry([site.root], extra=[Mine]), ConnectorRegistry([tmp_path / "empty"])

    assert ["acme", "mine"] == [record.name for record in first.list()]
    assert [] == second.list()
    assert first.hooks is not second.hooks


def test_activating_does_not_need_a_running_loop(site: Any) -> None:
    """And one that runs is no hindrance."""
    site.add("acme")
    registry = ConnectorRegistry([site.root])

    async def inside() -> str:
        return registry.activate("acme").name

    assert "acme" == asyncio.run(inside())
    assert str(site.root) in sys.path

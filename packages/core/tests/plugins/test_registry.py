"""The registry: by name, by feature, by hand."""

from __future__ import annotations

import asyncio
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from peft_studio.errors import BrokenConnector, ConnectorNotFound
from peft_studio.registry import ConnectorRegistry

from .sources import WORKING, Mine


def test_a_connector_is_imported_once(site: Any) -> None:
    """The same class each time, and the record says so."""
    site.add("acme")
    registry = ConnectorRegistry([site.root])

    assert registry.activate("acme") is registry.activate("acme")
    assert "active" == registry.describe("acme").state


def test_two_threads_get_one_class(site: Any) -> None:
    """Activation is done once, whoever asks."""
    site.add("acme", plugin="import time; time.sleep(0.05)\n" + WORKING)
    registry = ConnectorRegistry([site.root])
    got: list[type] = []
    threads = [threading.Thread(target=lambda: got.append(registry.activate("acme"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert 4 == len(got)
    assert 1 == len(set(got))


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

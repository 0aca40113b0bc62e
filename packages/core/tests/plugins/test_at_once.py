"""Plugins that are run at the same time do not get into each other's way."""

from __future__ import annotations

import sys
import threading
from types import ModuleType
from typing import Any

import pytest

from peft_studio import ConnectorRegistry
from peft_studio._guard import guarded

from .sources import WORKING

#: Says that its import has begun, and goes on when it may.
SLOW = "import gate_of_a_test as gate\ngate.entered.set()\nassert gate.may_go_on.wait(30)\n" + WORKING


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module through which a test steers the import of a plugin."""
    module: Any = ModuleType("gate_of_a_test")
    module.entered, module.may_go_on = threading.Event(), threading.Event()
    monkeypatch.setitem(sys.modules, "gate_of_a_test", module)
    yield module
    module.may_go_on.set()


def test_an_import_that_hangs_keeps_no_other_plugin_waiting(site: Any, gate: Any) -> None:
    """Another one is active while the first has still not been imported."""
    site.add("slow", plugin=SLOW)
    site.add("quick")
    registry = ConnectorRegistry([site.root])
    slow = threading.Thread(target=registry.activate, args=("slow",))
    slow.start()
    assert gate.entered.wait(30)

    assert "quick" == registry.activate("quick").name
    assert slow.is_alive()

    gate.may_go_on.set()
    slow.join(30)
    assert "slow" == registry.activate("slow").name


def test_a_plugin_that_two_want_is_imported_once(site: Any, gate: Any) -> None:
    """The second waits for the first, and gets the same class."""
    site.add("slow", plugin=SLOW)
    registry, found = ConnectorRegistry([site.root]), []
    both = [threading.Thread(target=lambda: found.append(registry.activate("slow"))) for _ in range(2)]
    for thread in both:
        thread.start()
    assert gate.entered.wait(30)
    both[1].join(0.3)  # so that it comes as far as it can
    gate.may_go_on.set()
    for thread in both:
        thread.join(30)

    assert [found[0], found[0]] == found


def test_what_each_of_two_prints_is_told_apart() -> None:
    """And afterwards the program prints where it did before, whichever of them ends first."""
    before = sys.stdout
    first_runs, second_runs, first_is_over = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        sys.stdout.write("first")
        first_runs.set()
        assert second_runs.wait(30)
        sys.stdout.write(" and last")

    def second() -> None:
        second_runs.set()
        assert first_is_over.wait(30)
        sys.stdout.write("second")

    results: list[Any] = []
    other = threading.Thread(target=lambda: (first_runs.wait(30), results.append(guarded(second, 30))))
    other.start()
    results.append(guarded(first, 30))
    sys.stdout.write("nobody's")
    first_is_over.set()
    other.join(30)

    assert ["first and last", "second"] == [result.printed for result in results]
    assert before is sys.stdout

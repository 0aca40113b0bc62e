"""Activation that fails: what is left behind, what is remembered, what is tried again."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from peft_studio._memory import FILE_NAME
from peft_studio.errors import BrokenConnector
from peft_studio.registry import ConnectorRegistry

from .sources import REVIEWER, WORKING


def test_a_failure_keeps_its_cause(site: Any) -> None:
    """The exception of the plugin is the cause of ours."""
    site.add("acme", plugin="raise KeyError('x')")
    with pytest.raises(BrokenConnector) as caught:
        ConnectorRegistry([site.root]).activate("acme")

    assert "acme (peft-studio-acme 1.0.0)" == caught.value.connector
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_failure_is_a_record_that_says_everything(site: Any) -> None:
    """Who, where on the way, why, what to do, and the exception itself; told by the files or by an import."""
    site.add("acme", plugin="raise KeyError('x')")
    site.add("old", requires=["peft-studio>=99"])
    site.add("good")
    registry = ConnectorRegistry([site.root])
    before = registry.broken("acme")
    registry.check("acme")
    acme, old = registry.broken("acme"), registry.broken("old")

    assert before is None
    assert registry.broken("good") is None
    assert acme is not None
    assert old is not None
    assert ("acme", "peft-studio-acme", "1.0.0", f"{site.packages[0]}.plugin") == (
        acme.plugin.name,
        acme.plugin.distribution,
        acme.plugin.version,
        acme.plugin.value,
    )
    assert ("import", KeyError) == (acme.stage, type(acme.cause))
    assert ("version", "pip install --upgrade 'peft-studio>=99'") == (old.stage, old.remedy)


def test_a_failure_leaves_no_modules_and_no_hooks_behind(site: Any) -> None:
    """The plugin is as if it had never been imported."""
    site.add("acme", swap={'    version = "1.0.0"\n': ""}, plugin=WORKING + REVIEWER.replace("NAME", "acme"))
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
    (installed.folder / "plugin.py").write_text(WORKING.replace("PACKAGE", installed.package))
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
    site.add("acme", plugin="import os\nif os.environ.get('ACME_BROKEN'): raise ValueError\n" + WORKING)
    os.environ["ACME_BROKEN"] = "1"
    ConnectorRegistry([site.root]).check("acme")
    del os.environ["ACME_BROKEN"]

    assert "broken" == ConnectorRegistry([site.root]).describe("acme").state
    assert [] == ConnectorRegistry([site.root]).check("acme")
    assert "described" == ConnectorRegistry([site.root]).describe("acme").state
    assert "{}" == (home / "state" / FILE_NAME).read_text()


@pytest.mark.parametrize("content", [b"", b"{torn", b"[]", b'{"KEY": 3}', b"\xff\xfe", b'{"KEY": {"stage": "none"}}'])
def test_a_corrupt_memory_does_not_break_the_list(content: bytes, site: Any, home: Path) -> None:
    """It is worth nothing by itself; the next failure writes it anew."""
    site.add("acme", plugin="raise ValueError")
    file = home / "state" / FILE_NAME
    file.parent.mkdir(parents=True)
    key = f"peft-studio-acme 1.0.0 {site.packages[0]}.plugin"
    file.write_bytes(content.replace(b"KEY", key.encode()))

    assert "described" == ConnectorRegistry([site.root]).describe("acme").state
    ConnectorRegistry([site.root]).check("acme")
    assert "broken" == ConnectorRegistry([site.root]).describe("acme").state


def test_a_memory_that_cannot_be_written_is_done_without(site: Any, home: Path) -> None:
    """The failure itself is told all the same."""
    home.write_text("a file where the directory should be")
    site.add("acme", plugin="raise ValueError")

    assert ["import"] == [str(finding.stage) for finding in ConnectorRegistry([site.root]).check("acme")]


def test_prints_of_other_threads_are_not_caught(site: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the importing thread is blamed; the rest of the program keeps its output."""
    code = "import builtins; builtins.importing.set(); builtins.printed.wait()\n" + WORKING
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


def test_an_import_is_not_waited_for_beyond_its_limit(site: Any) -> None:
    """This one would come to an end, and be in order, if it were given the time."""
    site.add("acme", plugin="import threading; threading.Event().wait(3)\n" + WORKING)
    with pytest.raises(BrokenConnector, match=r"gave no answer after 0\.2 s"):
        ConnectorRegistry([site.root], import_limit=0.2).activate("acme")


def test_a_slow_import_is_a_warning(site: Any) -> None:
    """It works, and each command that needs it waits."""
    site.add("acme", plugin="import threading; threading.Event().wait(1.1)\n" + WORKING)
    (finding,) = ConnectorRegistry([site.root]).check("acme")

    assert "warning" == finding.severity
    assert finding.message.startswith(f"importing {site.packages[0]}.plugin took ")


def test_one_module_cannot_be_two_connectors(site: Any) -> None:
    """The first goes on working; the second says why it cannot."""
    installed = site.add("acme", manifest=None)
    site.write_metadata("second-name", "1.0.0", [], f"acne = {installed.package}.plugin")
    registry = ConnectorRegistry([site.root])
    registry.activate("acme")
    message = f"{installed.package}.plugin belongs to another connector already; one module delivers one connector"

    assert [message] == [finding.message for finding in registry.check("acne") if finding.is_fault]
    assert "active" == registry.describe("acme").state
    assert ["acme"] == [registry.hooks.deliver(sys.modules[f"{installed.package}.plugin"]).name]


def test_a_class_that_fails_when_looked_at_is_a_record(site: Any) -> None:
    """Even that runs third-party code."""
    trap = "    class _Trap:\n        def __get__(self, *_): raise OSError('trap')\n    supports_tracking = _Trap()\n"
    site.add("acme", swap={"    name =": trap + "    name ="})
    (finding,) = ConnectorRegistry([site.root]).check("acme")

    assert f"looking at {site.packages[0]}.plugin raised OSError: trap" == finding.message

"""`peft-studio connectors`: commands that load when they are used, and what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

#: Runs the command line and ends with what it has imported, on stderr.
PROGRAM = """
import sys
BEFORE
from peft_studio.cli import main
try: main(sys.argv[1:])
finally:
    loaded = sorted(name for name in sys.modules if name.startswith(("plugin_", "peft_studio_")))
    print(loaded, file=sys.stderr)
"""

#: The testkit is not installed.
ABSENT = """
class Absent:
    @staticmethod
    def find_spec(name, *details):
        if name == "peft_studio_testkit": raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent)
"""


def run(site: Any, *arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """The command line in a process that tells what it has imported."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("BEFORE", before), *arguments],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(site.root)},
    )  # fmt: skip


def test_two_hundred_plugins_are_listed_and_none_is_imported(site: Any) -> None:
    """Each would end the process if it were."""
    names = [f"acme{number:03}" for number in range(200)]
    for name in names:
        site.add(name, init="raise SystemExit('imported')", plugin="raise SystemExit('imported')")
    listed = run(site, "connectors", "list", "--json")
    doctor = run(site, "connectors", "doctor", "--json")
    states = {record["name"]: record["state"] for record in json.loads(listed.stdout)}

    assert dict.fromkeys(names, "described") == {name: state for name, state in states.items() if name in names}
    assert "[]" == listed.stderr.splitlines()[-1]
    assert [] == [each for each in json.loads(doctor.stdout)["diagnoses"] if "acme" in each["what"]]
    assert "[]" == doctor.stderr.splitlines()[-1]


def test_help_names_every_command_and_imports_none(site: Any) -> None:
    """Those of the testkit are there whether it is installed or not."""
    done = run(site, "connectors", "--help", before=ABSENT)
    lines = done.stdout.partition("Commands:")[2].splitlines()
    commands = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]

    assert [
        "list", "show", "check", "doctor", "install", "export", "policy", "allow", "deny", "pin", "new",
    ] == commands  # fmt: skip
    assert "[]" == done.stderr.splitlines()[-1]


@pytest.mark.parametrize("arguments", [["connectors", "new", "acme"], ["connectors", "check", "acme", "--full"]])
def test_commands_of_the_testkit_without_it(arguments: list[str], site: Any) -> None:
    """One sentence that says what to install."""
    site.add("acme")
    done = run(site, *arguments, before=ABSENT)

    assert "Error: this needs the testkit" in done.stderr
    assert "pip install peft-studio-testkit" in done.stderr
    assert "Traceback" not in done.stderr


def test_options_of_a_full_check_alone(studio: Any, site: Any) -> None:
    """Are a mistake that is told before anything is imported."""
    site.add("acme")

    assert "belong to --full" in studio("connectors", "check", "acme", "--level", "1", code=2).stderr


def test_export(studio: Any, site: Any, tmp_path: Path) -> None:
    """Each plugin as it would be asked for again: from an index, a repository, a project."""
    origins = {
        "git": {
            "url": "https://host.example/x",
            "vcs_info": {"vcs": "git", "commit_id": "abc"},
            "subdirectory": "s",
        },
        "wheel": {"url": "https://host.example/x.whl", "archive_info": {}},
        "folder": {"url": "file:///src/x", "dir_info": {}},
        "editable": {"url": tmp_path.as_uri() + "/my%20plugin", "dir_info": {"editable": True}},
    }
    for name, origin in origins.items():
        (site.add(name).metadata / "direct_url.json").write_text(json.dumps(origin))
    site.add("index", version="1.2")
    expected = {
        "peft-studio-editable": f"-e {tmp_path}/my plugin",
        "peft-studio-folder": "peft-studio-folder @ file:///src/x",
        "peft-studio-git": "peft-studio-git @ git+https://host.example/x@abc#subdirectory=s",
        "peft-studio-index": "peft-studio-index==1.2",
        "peft-studio-wheel": "peft-studio-wheel @ https://host.example/x.whl",
    }
    told = {
        each["distribution"]: each["requirement"]
        for each in json.loads(studio("connectors", "export", "--json").stdout)
    }

    assert expected == {name: line for name, line in told.items() if name in expected}
    assert list(expected.values()) == [
        line for line in studio("connectors", "export").stdout.splitlines() if line in expected.values()
    ]


def test_export_of_a_torn_origin(studio: Any, site: Any) -> None:
    """Rather no list than one that lacks a plugin."""
    (site.add("acme").metadata / "direct_url.json").write_text("{")
    done = studio("connectors", "export", code=1)

    assert "where peft-studio-acme came from cannot be told" in done.stderr
    assert "" == done.stdout


def test_install_says_what_it_takes_a_name_for(studio: Any, site: Any) -> None:
    """A platform's name alone may well be the platform's own software."""
    done = studio("connectors", "install", "comet")

    assert "comet is taken as a distribution; our own connectors are huggingface, local, runpod, wandb" in done.stderr
    assert done.stdout.endswith(" comet\n")
    assert "is taken as a distribution" not in studio("connectors", "install", "local").stderr
    assert "nothing that can be installed" in studio("connectors", "install", "what is this", code=3).stderr


@pytest.mark.parametrize(
    ("words", "offered"),
    [("connectors show a", ["acme"]), ("connectors ins", ["install"]), ("connectors ne", ["new"])],
)
def test_completion(words: str, offered: list[str], studio: Any, site: Any) -> None:
    """Names and commands, told without an import."""
    site.add("acme", init="raise SystemExit('imported')")
    asked = {"COMP_WORDS": f"peft-studio {words}", "COMP_CWORD": str(words.count(" ") + 1)}
    done = studio(_PEFT_STUDIO_COMPLETE="bash_complete", **asked)

    assert offered == [line.removeprefix("plain,") for line in done.stdout.splitlines()]

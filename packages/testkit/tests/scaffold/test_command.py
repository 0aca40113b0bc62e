"""`connectors new` as a user types it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from peft_studio import InvalidConfig
from peft_studio_testkit.scaffold.command import new


@pytest.fixture
def type_new(tmp_path, monkeypatch):
    """Runs the command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments, **options):
        return CliRunner().invoke(new, arguments, catch_exceptions=False, **options)

    return run


def test_it_tells_what_it_wrote_and_what_comes_next(type_new, tmp_path):
    """The files on stdout, one a line; the next commands on stderr."""
    done = type_new("acme")

    assert 0 == done.exit_code
    assert "peft-studio-acme/pyproject.toml" in done.stdout.splitlines()
    assert all((tmp_path / line).is_file() for line in done.stdout.splitlines())
    assert [
        "cd peft-studio-acme", "pip install -e . --group test", "pytest", "peft-studio sandbox start acme",
    ] == [line.strip() for line in done.stderr.splitlines()[-4:]]  # fmt: skip


def test_the_choices_arrive(type_new, tmp_path):
    """Features, folder, display name and author."""
    type_new(
        "acme", "--feature", "registry", "--feature", "tracking", "--out", "made here", "--display-name", "ACME",
        "--author", "Zoë",
    )  # fmt: skip
    manifest = json.loads((tmp_path / "made here/src/peft_studio_acme/connector.json").read_text())

    assert ("ACME", ["registry", "tracking"]) == (
        manifest["display_name"], [name for name, is_set in manifest["features"].items() if is_set],
    )  # fmt: skip
    assert "Copyright Zoë" in (tmp_path / "made here/LICENSE").read_text()


def test_the_next_command_can_be_pasted(type_new):
    """A folder with a blank is quoted."""
    assert "  cd 'made here'\n" in type_new("acme", "--out", "made here").stderr


def test_an_unknown_feature_is_refused_by_name(type_new):
    """The library's own sentence, with the choices."""
    done = type_new("acme", "--feature", "cooking")

    assert (2, True) == (done.exit_code, "'cooking' is not one of 'training'" in done.stderr)


def test_a_bad_name_is_an_error_of_ours(type_new, tmp_path):
    """The command line shows it as one sentence; nothing is written."""
    with pytest.raises(InvalidConfig, match="cannot be the name"):
        type_new("Acme!")

    assert [] == list(tmp_path.iterdir())

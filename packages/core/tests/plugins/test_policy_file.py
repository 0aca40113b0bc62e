"""settings.toml is changed in place: nothing that the user wrote is lost."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from peft_studio.errors import InvalidConfig
from peft_studio.policy import Policy
from peft_studio.policy_file import PolicyFile

REMARKS = '# mine\n[plugins]\nallow = ["local"]  # for now\n\n[editor]\nfont = "serif"\n'


@pytest.fixture
def file(home: Path) -> Path:
    """Where the user's settings.toml is, or would be."""
    return home / "config" / "settings.toml"


def write(file: Path, text: str) -> Path:
    """Put a settings.toml there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode())
    return file


def test_the_first_change_makes_the_file(file: Path) -> None:
    """Folder and file come into being; the policy is in force."""
    assert ["acme", "other"] == PolicyFile().add("deny", ["acme", "other", "acme"])
    assert '[plugins]\ndeny = ["acme", "other"]\n' == file.read_text()
    assert {"acme", "other"} == Policy.load().deny


def test_what_is_there_already_changes_nothing(file: Path) -> None:
    """Not even the file's time."""
    write(file, REMARKS)
    os.utime(file, (1, 1))

    assert [] == PolicyFile().add("allow", ["local"])
    assert [] == PolicyFile().remove("deny", ["local"])
    assert False is PolicyFile().drop("deny")
    assert None is PolicyFile().unpin("local")
    assert 1 == file.stat().st_mtime


def test_a_name_is_taken_out_in_any_spelling_of_its_distribution(file: Path) -> None:
    """As it is understood in any spelling; a name that is there exactly is meant exactly."""
    write(file, '[plugins]\ndeny = ["Peft_Studio.acme", "a-b", "a_b"]\n')

    assert ["peft-studio-acme", "a-b"] == PolicyFile().remove("deny", ["peft-studio-acme", "nobody", "a-b"])
    assert '[plugins]\ndeny = ["a_b"]\n' == file.read_text()


def test_pins_come_and_go(file: Path) -> None:
    """What it was before is told."""
    write(file, REMARKS)

    assert None is PolicyFile().pin("acme", "one")
    assert "one" == PolicyFile().pin("acme", "two")
    assert {"acme": "two"} == Policy.load().pin
    assert "two" == PolicyFile().unpin("acme")
    assert f"{REMARKS}\n[plugins.pin]\n" == file.read_text()


def test_the_last_name_leaves_an_empty_list(file: Path) -> None:
    """Which lets nobody in; only dropping the list lets everybody in."""
    write(file, REMARKS)
    PolicyFile().remove("allow", ["local"])

    assert frozenset() == Policy.load().allow
    assert True is PolicyFile().drop("allow")
    assert None is Policy.load().allow
    assert '# mine\n[plugins]\n\n[editor]\nfont = "serif"\n' == file.read_text()


@pytest.mark.parametrize(
    "text", ["[plugins", "\ufeff[plugins]\n", "plugins = 3", "[plugins]\nallow = 'x'\n", "a = '\0'"]
)
def test_a_file_that_is_not_understood_is_refused(text: str, file: Path) -> None:
    """And stays as it is."""
    before = write(file, text).read_bytes()
    with pytest.raises(InvalidConfig, match=r"settings\.toml"):
        PolicyFile().add("deny", ["acme"])

    assert before == file.read_bytes()
    assert [file] == list(file.parent.iterdir())


def test_bytes_that_are_no_text_are_refused(file: Path) -> None:
    """Latin-1 is not guessed."""
    write(file, "").write_bytes(b"# caf\xe9\n")
    with pytest.raises(InvalidConfig, match=r"settings\.toml cannot be read"):
        PolicyFile().add("deny", ["acme"])

    assert b"# caf\xe9\n" == file.read_bytes()


def test_a_form_that_cannot_be_changed_is_refused(file: Path) -> None:
    """With a sentence that says what to do."""
    write(file, 'plugins = { allow = ["local"] }\n')
    with pytest.raises(InvalidConfig) as caught:
        PolicyFile().add("allow", ["acme"])

    assert f"{file} cannot be changed: plugins.allow is written in a form that only an editor can change" == str(
        caught.value
    )
    assert caught.value.remedy
    assert 'plugins = { allow = ["local"] }\n' == file.read_text()


def test_mode_and_link_are_kept(file: Path, tmp_path: Path) -> None:
    """A file that only the user may read stays so, and a link to a folder of dot files stays a link."""
    target = write(tmp_path / "dots" / "studio.toml", REMARKS)
    target.chmod(0o600)
    file.parent.mkdir(parents=True)
    file.symlink_to(target)
    PolicyFile().add("allow", ["acme"])

    assert file.is_symlink()
    assert 0o600 == stat.S_IMODE(target.stat().st_mode)
    assert REMARKS.replace('"local"]', '"local", "acme"]') == target.read_text()
    assert ["studio.toml"] == [entry.name for entry in target.parent.iterdir()]


def test_line_ends_are_kept(file: Path) -> None:
    """A file from Windows stays one."""
    write(file, REMARKS.replace("\n", "\r\n"))
    PolicyFile().pin("acme", "one")

    assert (REMARKS + '\n[plugins.pin]\nacme = "one"\n').replace("\n", "\r\n").encode() == file.read_bytes()


def test_a_file_in_the_folders_place_is_said(home: Path) -> None:
    """One sentence, no traceback."""
    home.mkdir()
    (home / "config").write_text("")
    with pytest.raises(InvalidConfig, match=r"settings\.toml cannot be written: "):
        PolicyFile().add("allow", ["acme"])


def test_nobody_overwrites_the_other(file: Path, home: Path) -> None:
    """Commands that run at once all leave their mark."""
    write(file, REMARKS)
    program = "import sys; from peft_studio.policy_file import PolicyFile; PolicyFile().add('deny', sys.argv[1:])"
    names = [f"plugin-{number}" for number in range(8)]
    started = [subprocess.Popen([sys.executable, "-c", program, name]) for name in names]

    assert [0] * len(names) == [process.wait() for process in started]
    assert {*names} == Policy.load().deny


def test_a_draft_that_was_left_behind_is_said(file: Path) -> None:
    """A machine that lost power in between; the user decides, not a clock."""
    draft = write(file, REMARKS).with_name(".settings.toml.draft")
    draft.touch()
    with pytest.raises(InvalidConfig, match="is being changed by another command") as caught:
        PolicyFile(patience=0).add("allow", ["acme"])

    assert f"if that is not so, remove {draft}" == caught.value.remedy
    assert draft.exists()
    assert REMARKS == file.read_text()

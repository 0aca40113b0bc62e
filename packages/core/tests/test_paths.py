"""Where things are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from peft_studio import paths

KINDS = ("data", "state", "config", "cache")


@pytest.mark.parametrize("kind", KINDS)
def test_home_variable_puts_everything_under_one_directory(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With PEFT_STUDIO_HOME set, each kind is a subfolder of it."""
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path))

    assert tmp_path / kind == getattr(paths, f"{kind}_dir")()


def test_a_relative_home_does_not_follow_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path handed on stays the same after a change of directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PEFT_STUDIO_HOME", "here")

    assert tmp_path / "here" / "data" == paths.data_dir()


def test_without_the_variable_each_directory_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    """The platform's own places are used, all under a folder named after the project."""
    monkeypatch.delenv("PEFT_STUDIO_HOME", raising=False)
    directories = [getattr(paths, f"{kind}_dir")() for kind in KINDS]

    assert all(path.is_absolute() and "peft-studio" in path.parts for path in directories)


def test_asking_creates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read command leaves no folders behind."""
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path))
    paths.data_dir()

    assert [] == list(tmp_path.iterdir())


def test_homes_can_share_a_cache(tmp_path, monkeypatch):
    """The cache has a variable of its own, stronger than the home's."""
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PEFT_STUDIO_CACHE", str(tmp_path / "shared"))

    assert tmp_path / "shared" == paths.cache_dir()

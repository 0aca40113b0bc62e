"""docs/examples/peft-studio-acme is what `connectors new acme` writes; `python3 dev.py scaffold` writes it anew."""

from __future__ import annotations

from pathlib import Path

from peft_studio_testkit.scaffold import render

EXAMPLE = Path(__file__).parents[4] / "docs" / "examples" / "peft-studio-acme"
#: What working in the folder leaves there; none of it is checked in.
_LEFT_OVER = {"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", "dist"}


def test_the_example_is_what_the_command_writes(tmp_path):
    """File by file, letter by letter."""
    written = {path.relative_to(tmp_path / "new"): path.read_text() for path in render("acme", tmp_path / "new")}
    checked_in = {
        path.relative_to(EXAMPLE): path.read_text()
        for path in EXAMPLE.rglob("*")
        if path.is_file() and not _LEFT_OVER & set(path.parts)
    }

    assert sorted(written) == sorted(checked_in)
    assert [] == [str(path) for path in written if written[path] != checked_in[path]]

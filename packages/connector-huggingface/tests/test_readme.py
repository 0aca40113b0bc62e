"""The README's programs run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("program", PROGRAMS, ids=["connector", "serving", "sandbox"])
def test_the_programs_of_the_readme_run(program, tmp_path):
    """As they stand there, with every warning an error."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False,
        cwd=tmp_path, env={**os.environ, "PEFT_STUDIO_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert (0, "") == (done.returncode, done.stderr)


def test_the_readme_lists_every_setting():
    """With the variable that holds it."""
    manifest = json.loads(files("peft_studio_huggingface").joinpath("connector.json").read_text(encoding="utf-8"))
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \|", README, re.MULTILINE)
    assert [(field["key"], field["env"]) for field in manifest["credentials"] + manifest["settings"]] == rows


def test_the_readme_says_what_was_not_verified():
    """Nobody may take a sandbox for the real service."""
    assert "Nothing here was ever verified against the real service" in re.sub(r"\s+", " ", README)

"""The README's program runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_program_of_the_readme_runs(tmp_path):
    """As it stands there, with every warning an error."""
    (program,) = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False,
        cwd=tmp_path, env={**os.environ, "PEFT_STUDIO_HOME": str(tmp_path / "home")},
    )  # fmt: skip
    assert (0, "") == (done.returncode, done.stderr)


def test_the_readme_says_what_was_not_verified():
    """Nobody may take a sandbox for the real service."""
    assert "Nothing here was ever verified against the real service" in README

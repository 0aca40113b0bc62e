"""Where the testkit is not installed, the commands that need it say what to install."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HIDDEN = "import sys; sys.modules['peft_studio_testkit'] = None; from peft_studio.cli import main; main(sys.argv[1:])"


@pytest.mark.parametrize(
    "command", [["sandbox", "list"], ["sandbox", "start", "acme"], ["run", "job.toml", "--on", "acme", "--sandbox"]]
)
def test_what_to_install_is_told(tmp_path, command):
    """One sentence and one command to type; no traceback."""
    (tmp_path / "job.toml").write_text('base_model = "m"\ndataset_path = "d.jsonl"\n')
    done = subprocess.run(
        [sys.executable, "-c", HIDDEN, *command],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=os.environ | {"PEFT_STUDIO_HOME": str(tmp_path)},
    )  # fmt: skip
    assert (1, "Error: this needs the testkit\n  try: pip install peft-studio-testkit\n") == (
        done.returncode, done.stderr,
    )  # fmt: skip


def test_a_testkit_that_lacks_something_is_not_called_absent():
    """Another missing package is told by its own name."""
    script = "import sys; sys.modules['starlette.applications'] = None\nfrom peft_studio.cli._testkit import testkit\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{script}testkit('sandbox.http.HttpSandbox')"],
        capture_output=True,
        text=True,
        check=False,
    )
    pytest.importorskip("peft_studio_testkit")
    assert "starlette.applications" in done.stderr

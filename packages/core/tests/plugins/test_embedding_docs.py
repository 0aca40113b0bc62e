"""docs/embedding.md tells the truth: each of its programs runs, as a reader would run it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[4] / "docs" / "embedding.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)

#: What each program says, in the order of the page.
SAID = [
    ["1 log {'level': 'info', 'message': 'first', 'source': 'trainer'}",
     "2 log {'level': 'info', 'message': 'second', 'source': 'trainer'}"],
    ["1 log", "2 log"],
    ["['acme']"],
    ["the job was not submitted: the rank may be 64 at most", "watched: acme 1", "watched: acme 2"],
    ["[]"],
]  # fmt: skip


@pytest.mark.parametrize(("program", "said"), list(zip(BLOCKS, SAID, strict=True)), ids=range(len(SAID)))
def test_program(program: str, said: list[str], site: Any, tmp_path: Path) -> None:
    """With the connector installed that it names, and the config that it loads."""
    acme = site.add("acme", changes={"credentials": [{"key": "api_key", "required": False}], "hosts": ["acme.example"]})
    (tmp_path / "acme.py").write_text(f"from {acme.package}.connector import Connector as AcmeConnector\n")
    (tmp_path / "job.toml").write_text('base_model = "org/model"\ndataset_path = "data.jsonl"\n')
    (tmp_path / "program.py").write_text(program)
    done = subprocess.run(
        [sys.executable, "-W", "error", "program.py"], capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site.root)},
    )  # fmt: skip

    assert (0, "") == (done.returncode, done.stderr)
    assert said == done.stdout.splitlines()


def test_files_that_it_names_are_there() -> None:
    """Links and paths of the examples."""
    text = PAGE.read_text(encoding="utf-8")
    links = [PAGE.parent / link for link in re.findall(r"\]\(([^)#:]+)", text)]
    paths = [PAGE.parents[1] / path for path in re.findall(r"`(examples/[\w./]+)`", text)]

    assert 4 == len(links)
    assert 3 == len(paths)
    assert [] == [path for path in links + paths if not path.exists()]

"""The pages for authors are typed as they stand: from nothing to a connector that is found, checked and used."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "docs" / name for name in ("write-a-connector.md", "publish-a-connector.md", "security.md")]
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PROJECT = "peft-studio-acme"


@pytest.fixture
def desk(studio, tiny_model, facts_file):
    """An empty folder with a job to be run, and its model on the disk; what pip installs is unpacked into `site`."""
    (studio.home / "job.toml").write_text(f'base_model = "acme/tiny"\ndataset_path = "{facts_file}"\nmax_steps = 2\n')
    cached = studio.home / "hub" / "models--acme--tiny"
    shutil.copytree(tiny_model, cached / "snapshots" / "1")
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text("1")
    studio.environment |= {"PYTHONPATH": str(studio.home / "site"), "HF_HOME": str(studio.home), "HF_HUB_OFFLINE": "1"}
    return studio.home


def install(project: Path, site: Path) -> None:
    """What pip does with the built wheel of a project whose requirements are there."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(site)]
    subprocess.run(build, check=True, capture_output=True, cwd=project)
    (wheel,) = site.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)


def pytest_in(project: Path, options: list[str], environment: dict[str, str]) -> None:
    """Type pytest as the reader does, for a few checks: the testkit's own tests run them all."""
    few = ["-q", "-p", "no:cacheprovider", "-k", "name_is_a_slug or job_is_found_by_its_tag"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *few, *options],
        capture_output=True, text=True, check=False, cwd=project, env={**os.environ, **environment},
    )  # fmt: skip

    assert 0 == done.returncode, done.stdout
    assert "2 passed" in done.stdout


def serve(studio, *arguments: str) -> None:
    """A server that says where it is, until Ctrl-C."""
    server = studio.start(*arguments)
    assert server.stdout is not None
    assert any("ACME_BASE_URL" in line for line in server.stdout)
    server.send_signal(signal.SIGINT)
    assert server.wait(timeout=60) in (0, 130)


@pytest.mark.slow
def test_commands(studio, desk):
    """Every command, one after the other, in the order of the pages."""
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for command in (line.removeprefix("$ ") for block in CONSOLE.findall(text) for line in block.splitlines()):
        match shlex.split(command):
            case ["pip", "install", "peft-studio-testkit"] | ["cd", "peft-studio-acme"]:
                continue  # it is installed here, and the commands know where they belong
            case ["pip", "install", "-e", ".", *_]:
                install(desk / PROJECT, desk / "site")
            case ["python" | "gh" | "fresh/bin/pip" | "fresh/bin/peft-studio", *_]:
                continue  # they want the network, or what has been fetched from it
            case ["pytest", *options]:
                pytest_in(desk / PROJECT, options, studio.environment)
            case ["peft-studio", "sandbox", "start", name]:
                serve(studio, "sandbox", "start", name)
            case ["peft-studio", *arguments]:
                studio(*arguments)
            case _:
                pytest.fail(f"nobody knows how to type {command!r} here")

    assert ["described"] == [each["state"] for each in studio.json("connectors", "list") if each["name"] == "acme"]
    assert "acme" == json.loads((desk / PROJECT / "compliance.json").read_text())["connector"]

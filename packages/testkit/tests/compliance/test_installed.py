"""An installed connector, checked by the commands that people type, each in a process of its own."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from reference import Edit, install

_KEYWORD = Edit("pyproject.toml", ', "peft-studio-connector"', "")
_EXPECTED = Edit(
    "sandbox.py",
    '    """The platform that api.py describes."""\n',
    '    expected_failures = {"index-can-find-it": "it is not for the public"}\n',
)
_CHECK = "import sys; from peft_studio_testkit.compliance.command import check_fully; sys.exit(check_fully('acme'))"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracker with one failure that is expected, installed in this directory."""
    return install(tmp_path_factory.mktemp("good"), [_KEYWORD, _EXPECTED], ["tracking"])


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a failure that is not expected."""
    return install(tmp_path_factory.mktemp("bad"), [_KEYWORD], ["tracking"])


def _run(site: Path, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run Python where only `site` is installed beside the testkit."""
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "NO_COLOR": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.run([sys.executable, *command], env=environment, text=True, check=False, timeout=300, **pipes)


def _pytest(site: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    return _run(site, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:asyncio", "-ra", *arguments, cwd=folder)


def test_pytest_of_a_good_connector(good: Path, tmp_path: Path) -> None:
    """`pytest --connector NAME` passes, tells the expected failure, and writes the report."""
    done = _pytest(good, tmp_path, "--connector", "acme", "--compliance-report", "compliance.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "it is not for the public" in done.stdout
    report = json.loads((tmp_path / "compliance.json").read_text(encoding="utf-8"))
    assert ("acme", ["tracking"], 0, 1) == tuple(report[key] for key in ("connector", "features", "failed", "xfailed"))
    assert f"{report['passed']} passed, 1 xfailed" in done.stdout
    assert report["distribution"] == "peft-studio-acme"


def test_pytest_of_a_bad_connector(bad: Path, tmp_path: Path) -> None:
    """A failure is a failed test with the check's id, its reason and its sentence; nothing of the testkit's code."""
    done = _pytest(bad, tmp_path, "--connector", "acme", "-k", "index_can_find_it")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "index-can-find-it: the distribution lacks the keyword peft-studio-connector" in done.stdout
    assert "by which people look for connectors" in done.stdout
    assert "checks/distribution.py" not in done.stdout


def test_pytest_of_an_unknown_connector(good: Path, tmp_path: Path) -> None:
    """A name that is not installed is one sentence and a way out, not a traceback."""
    done = _pytest(good, tmp_path, "--connector", "acne")
    assert done.returncode == pytest.ExitCode.INTERRUPTED
    assert "--connector acne:" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_suite_in_a_test_file(good: Path, tmp_path: Path) -> None:
    """Three lines of a test file are all checks of the connector; the sandbox is found by its name."""
    (tmp_path / "test_acme.py").write_text(
        "from peft_studio_acme.connector import AcmeConnector\n"
        "from peft_studio_testkit import ConnectorSuite\n"
        "class TestAcme(ConnectorSuite):\n"
        "    connector = AcmeConnector\n"
    )
    done = _pytest(good, tmp_path, "-k", "name_is_a_slug or index_can_find_it")
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert "1 xfailed" in done.stdout


def test_suite_cannot_be_overridden(good: Path, tmp_path: Path) -> None:
    """Writing a check of one's own over ours is an error that names the way to say so openly."""
    (tmp_path / "test_acme.py").write_text(
        "from peft_studio_acme.connector import AcmeConnector\n"
        "from peft_studio_testkit import ConnectorSuite\n"
        "class TestAcme(ConnectorSuite):\n"
        "    connector = AcmeConnector\n"
        "    def test_name_is_a_slug(self): pass\n"
    )
    done = _pytest(good, tmp_path)
    assert done.returncode != 0
    assert "TestAcme overrides test_name_is_a_slug; write a reason into expected_failures instead" in done.stdout


def test_command_on_a_good_connector(good: Path) -> None:
    """The command for people tells expected failures and a verdict, and ends with 0."""
    done = _run(good, "-c", _CHECK)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "expected index-can-find-it: it is not for the public"
    assert lines[-1].startswith("ok acme level 1: ")
    assert lines[-1].endswith(" passed, 1 xfailed")
    assert done.stderr == ""


def test_command_on_a_bad_connector(bad: Path) -> None:
    """On a terminal it shows how far it is; a failure is told when it comes, and the exit code is 10."""
    terminal, screen = pty.openpty()
    done = _run(bad, "-c", _CHECK, stderr=screen)
    os.close(screen)
    shown = os.read(terminal, 1 << 20).decode()
    os.close(terminal)
    assert done.returncode == 10, done.stdout + shown
    assert "failed index-can-find-it: the distribution lacks the keyword" in done.stdout
    assert "not compliant acme level 1: " in done.stdout
    assert "1/" in shown
    assert "tracking" in shown


def test_plugin_is_light() -> None:
    """Pytest loads our plugin wherever the testkit is installed: that loads neither a server nor an HTTP library."""
    heavy = ["starlette", "uvicorn", "httpx2", "jinja2", "peft_studio_testkit.suite", "peft_studio_testkit.sandbox"]
    program = (
        "import sys, json, peft_studio_testkit.pytest_plugin\n"
        f"print(json.dumps([name for name in {heavy!r} if name in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [] == json.loads(done.stdout)

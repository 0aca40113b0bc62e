"""`dev.py` and `noxfile.py`: the first things a newcomer runs."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python dev.py …` as a user types it, from somewhere else."""
    command = [sys.executable, str(ROOT / "dev.py"), *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, cwd="/", env={**os.environ, **environment}
    )


@pytest.fixture(scope="module")
def dev() -> ModuleType:
    """The file as a module."""
    spec = spec_from_file_location("dev", ROOT / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_alone_it_lists_what_there_is() -> None:
    """Every session with its line, nothing set up, nothing downloaded."""
    answer = run()

    assert 0 == answer.returncode
    assert answer.stdout == run("--help").stdout
    for session in ("demo", "test", "lint", "typing", "isolated", "bench", "release-notes"):
        assert f"\n  {session} " in answer.stdout


def test_every_session_says_what_it_does(dev: ModuleType) -> None:
    """The list has no empty line."""
    assert all(dev.known_sessions().values())


def test_misspelt_session_is_one_sentence_with_the_likely_one() -> None:
    """A typing error costs a second, not an installation."""
    answer = run("tets")

    assert (1, "") == (answer.returncode, answer.stdout)
    assert "dev.py: there is no session 'tets'; did you mean 'test'?\n" == answer.stderr


def test_python_without_venv_is_one_sentence(tmp_path: Path) -> None:
    """Debian splits venv from Python; the sentence names its package."""
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['ensurepip'] = None")
    answer = run("lint", PYTHONPATH=str(tmp_path))

    assert 1 == answer.returncode
    assert answer.stderr.endswith("apt install python3-venv\n")


def test_environment_goes_before_pips_files(dev: ModuleType) -> None:
    """As in pip: a variable, then [install], then [global]."""
    listing = "\n".join(
        [
            ":env:.timeout='60'",
            "global.find-links='/global'",
            "global.index-url='https://global/'",
            "global.timeout='15'",
            "install.index-url='https://install/'",
            "download.index-url='https://download/'",
        ]
    )

    expected = {"timeout": "60", "find-links": "/global", "index-url": "https://install/"}
    assert expected == dev.read_pip_settings(listing)


def test_uv_is_told_what_pip_is_told(dev: ModuleType) -> None:
    """Lists are separated as uv wants them, and several indexes count alike, as in pip."""
    pip = {
        "find-links": "/wheels\nhttps://wheels/",
        "extra-index-url": "https://one/ https://two/",
        "constraint": "/a.txt /b.txt",
        "default-timeout": "180",
        "cert": "/ca.pem",
        "trusted-host": "inside",
    }

    expected = {
        "UV_FIND_LINKS": "/wheels,https://wheels/",
        "UV_INDEX": "https://one/ https://two/",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_CONSTRAINT": "/a.txt /b.txt",
        "UV_HTTP_TIMEOUT": "180",
        "SSL_CERT_FILE": "/ca.pem",
        "UV_INSECURE_HOST": "inside",
    }
    assert expected == dev.uv_settings(pip)

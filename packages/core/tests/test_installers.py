"""`connectors install` in real environments: made by venv, uv, uv tool, pipx, and by the operating system."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

ROOT = Path(__file__).parents[3]
CORE = ROOT / "packages" / "core"
SYSTEM = Path("/usr/bin/python3")

pytestmark = pytest.mark.slow

PYPROJECT = """
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "peft-studio-NAME"
version = "1.0"
dependencies = ["peft-studio>=0.1,<1"]

[project.entry-points."peft_studio.connectors"]
NAME = "peft_studio_NAME.plugin"

[tool.hatch.build.targets.wheel]
packages = ["src/peft_studio_NAME"]
"""


@frozen
class Studio:
    """An installed peft-studio."""

    program: list[str]
    environment: dict[str, str]

    def __call__(self, *arguments: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [*self.program, *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=self.environment, cwd=self.environment["HERE"]
        )
        assert code == done.returncode, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str | Path) -> Any:
        """The document that a command prints."""
        return json.loads(self(*arguments, "--json").stdout)

    def connectors(self) -> dict[str, str]:
        """Each connector with its state."""
        return {record["name"]: record["state"] for record in self.json("connectors", "list")}


def run(*command: str | Path, environment: dict[str, str]) -> None:
    """A command that must succeed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, env=environment)
    assert 0 == done.returncode, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment with uv and pipx on PATH, told what pip is told on this machine."""
    folder = tmp_path_factory.mktemp("tools")
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-qq", "uv", "pipx"], check=True)
    spec = spec_from_file_location("dev", ROOT / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    dev = module_from_spec(spec)
    spec.loader.exec_module(dev)
    listing = subprocess.run([python, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True).stdout
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PEFT_STUDIO_", "VIRTUAL_ENV"))}
    return {
        **dev.uv_settings(dev.read_pip_settings(listing)),
        **kept,
        "PATH": os.pathsep.join([str(python.parent), "/usr/bin", "/bin"]),
        # Of its own: uv keeps what it has built of a folder until its pyproject.toml changes, and would test old code.
        "UV_CACHE_DIR": str(folder / "cache"),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_PYTHON": sys.executable,
        "PIPX_DEFAULT_PYTHON": sys.executable,
    }


@pytest.fixture
def tools(machine: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """The same for a user who has installed nothing yet."""
    folders = {"UV_TOOL_DIR": "uv-tools", "UV_TOOL_BIN_DIR": "bin", "PIPX_HOME": "pipx", "PIPX_BIN_DIR": "bin"}
    more = {"PIPX_MAN_DIR": "man", "PEFT_STUDIO_HOME": "home", "HERE": ""}
    return {**machine, **{name: str(tmp_path / folder) for name, folder in (folders | more).items()}}


@pytest.fixture
def project(tmp_path: Path) -> Callable[[str], Path]:
    """Writes the project of a plugin."""

    def write(name: str) -> Path:
        package = tmp_path / name / "src" / f"peft_studio_{name}"
        package.mkdir(parents=True)
        (tmp_path / name / "pyproject.toml").write_text(PYPROJECT.replace("NAME", name))
        (package / "__init__.py").touch()
        (package / "plugin.py").write_text("raise SystemExit('imported')\n")
        manifest = {"name": name, "display_name": name, "description": "A plugin"}
        (package / "connector.json").write_text(json.dumps(manifest))
        return tmp_path / name

    return write


@pytest.fixture
def venv(tmp_path: Path, tools: dict[str, str]) -> Studio:
    """A virtual environment that has pip; uv is only quicker at filling it."""
    run(sys.executable, "-m", "venv", tmp_path / "venv", environment=tools)
    run("uv", "pip", "install", "-q", "--python", tmp_path / "venv/bin/python", CORE, environment=tools)
    return Studio([str(tmp_path / "venv/bin/peft-studio")], tools)


def test_a_virtual_environment_with_pip(venv: Studio, project: Callable[[str], Path]) -> None:
    """The pip of that very environment, whatever is on PATH; an editable install is one, and its staleness is found."""
    one, two = project("one"), project("two")
    python = Path(venv.program[0]).with_name("python")
    shown = venv("connectors", "install", one)
    ran = venv("connectors", "install", one, "--run")
    editable = json.loads(venv("connectors", "install", "-e", two, "--run", "--json").stdout)

    assert f"{python} -m pip install {one}\n" == shown.stdout
    assert "install only what you trust" in shown.stderr
    assert ["one", "described", "peft-studio-one", "1.0"] == ran.stdout.splitlines()[-1].split()
    assert "Successfully installed peft-studio-one-1.0" in ran.stdout
    assert ["-e", str(two)] == editable["command"][-2:]
    assert ["two"] == [record["name"] for record in editable["connectors"]]
    assert {"one": "described", "two": "described"} == venv.connectors()
    assert f"peft-studio-one @ {one.as_uri()}\n-e {two}\n" == venv("connectors", "export").stdout
    assert "ok nothing is wrong\n" == venv("connectors", "doctor").stdout
    (two / "pyproject.toml").write_text(PYPROJECT.replace("NAME =", "fresh =").replace("NAME", "two"))
    assert f"try: {python} -m pip install -e {two}" in venv("connectors", "doctor", code=10).stdout


def test_what_goes_wrong(venv: Studio, project: Callable[[str], Path], tmp_path: Path) -> None:
    """The installer's own words, its exit code as ours, and nothing that claims to be installed."""
    broken = project("broken")
    text = PYPROJECT.replace("NAME", "broken").replace("peft-studio>", "no-such-thing-at-all>")
    (broken / "pyproject.toml").write_text(text)
    failed = venv("connectors", "install", broken, "--run", code=1)
    other = tmp_path / "other"
    other.mkdir()
    text = '[project]\nname = "other"\nversion = "1"\n[tool.setuptools]\npy-modules = []\n'
    (other / "pyproject.toml").write_text(text)

    assert "no-such-thing-at-all" in failed.stderr
    assert "ended with exit code 1" in failed.stderr
    assert "what was installed delivers no connector" in venv("connectors", "install", other, "--run").stderr
    assert {} == venv.connectors()


def test_a_conda_environment(venv: Studio, project: Callable[[str], Path]) -> None:
    """Conda has no package of a plugin, so pip adds it; told from the folder that conda keeps its records in."""
    python = Path(venv.program[0]).with_name("python")
    (python.parents[1] / "conda-meta").mkdir()
    told = venv.json("connectors", "install", project("one"))

    assert ("conda", [str(python), "-m", "pip", "install"]) == (told["installer"], told["command"][:4])


def test_a_virtual_environment_of_uv(tools: dict[str, str], project: Callable[[str], Path], tmp_path: Path) -> None:
    """It has no pip; uv is told which Python."""
    run("uv", "venv", "-q", tmp_path / "venv", environment=tools)
    python = tmp_path / "venv/bin/python"
    run("uv", "pip", "install", "-q", "--python", python, CORE, environment=tools)
    studio = Studio([str(python.with_name("peft-studio"))], tools)
    one = project("one")

    assert f"uv pip install --python {python} {one}\n" == studio("connectors", "install", one).stdout
    assert ["one", "described"] == studio("connectors", "install", one, "--run").stdout.splitlines()[-1].split()[:2]
    without_uv = Studio(studio.program, {**tools, "PATH": "/usr/bin:/bin"})
    assert "uv is not on PATH" in without_uv("connectors", "install", one).stderr
    assert "uv is not on PATH" in without_uv("connectors", "install", one, "--run", code=1).stderr


def test_uv_tool(tools: dict[str, str], project: Callable[[str], Path]) -> None:
    """What the tool came with stays: plugins, editable ones too, other requirements with their versions and extras."""
    one, two, three, four = project("one"), project("two"), project("three"), project("four")
    run("git", "init", "-q", "-b", "trunk", four.parent, environment=tools)
    identity = ["-c", "user.name=a", "-c", "user.email=a@host.example"]
    run("git", "-C", four.parent, "add", "four", environment=tools)
    run("git", *identity, "-C", four.parent, "commit", "-qm", "feat: a plugin", environment=tools)
    repository = f"git+{four.parent.as_uri()}@trunk#subdirectory=four"
    with_others = ["--with", one, "--with-editable", two, "--with", "filelock>=3", "--with", "anyio[trio]"]
    with_others += ["--with", repository]
    run("uv", "tool", "install", "-q", f"peft-studio[live] @ {CORE.as_uri()}", *with_others, environment=tools)
    studio = Studio([str(Path(tools["UV_TOOL_BIN_DIR"], "peft-studio"))], tools)
    told = studio.json("connectors", "install", three)
    again = studio.json("connectors", "install", "-e", one)
    ran = studio("connectors", "install", three, "--run").stdout

    words = told["command"]
    main = f"peft-studio[live] @ {CORE.as_uri()}"
    assert ["uv", "tool", "install", "--python", sys.executable, main] == words[:6]
    assert {
        ("--with", f"peft-studio-one @ {one.as_uri()}"), ("--with-editable", str(two)), ("--with", "filelock>=3"),
        ("--with", "anyio[trio]"), ("--with", f"peft-studio-four @ {repository}"), ("--with", str(three)),
    } == set(zip(words[6::2], words[7::2], strict=True))  # fmt: skip
    assert ["--with-editable", str(one)] == again["command"][-2:]
    assert f"peft-studio-one @ {one.as_uri()}" not in again["command"]
    assert ["three", "described"] == ran.splitlines()[-1].split()[:2]
    assert dict.fromkeys(("one", "two", "three", "four"), "described") == studio.connectors()
    assert "ok nothing is wrong\n" == studio("connectors", "doctor").stdout
    installed = Path(tools["UV_TOOL_DIR"], "peft-studio", "lib").rglob("*.dist-info")
    assert {"filelock", "trio", "rich"} <= {folder.name.partition("-")[0] for folder in installed}


def test_uv_tool_that_lost_its_plugins(tools: dict[str, str], project: Callable[[str], Path]) -> None:
    """Installed anew without them: the doctor names them, and the command that brings them back."""
    one = project("one")
    run("uv", "tool", "install", "-q", "--force", CORE, "--with", one, environment=tools)
    studio = Studio([str(Path(tools["UV_TOOL_BIN_DIR"], "peft-studio"))], tools)
    studio("connectors", "list")
    run("uv", "tool", "install", "-q", "--force", CORE, environment=tools)
    told = studio("connectors", "doctor").stdout

    assert "peft-studio-one 1.0, which delivers one, was installed here and is not any more" in told
    main = f"--python {sys.executable} 'peft-studio @ {CORE.as_uri()}'"
    assert f"try: uv tool install {main} --with peft-studio-one; or" in told


def test_pipx(tools: dict[str, str], project: Callable[[str], Path]) -> None:
    """Injected into the environment that pipx made."""
    run("pipx", "install", "-q", CORE, environment=tools)
    studio = Studio([str(Path(tools["PIPX_HOME"], "venvs/peft-studio/bin/peft-studio"))], tools)
    one, two = project("one"), project("two")
    shown = studio("connectors", "install", one).stdout
    studio("connectors", "install", one, "--run")
    studio("connectors", "install", two, "-e", "--run")

    assert f"pipx inject peft-studio {one}\n" == shown
    assert {"one": "described", "two": "described"} == studio.connectors()
    assert f"-e {two}" in studio("connectors", "export").stdout


def test_uvx(tools: dict[str, str]) -> None:
    """An environment that is thrown away takes nothing."""
    studio = Studio(["uvx", "-q", "--from", str(CORE), "peft-studio"], tools)
    told = studio("connectors", "install", "local", code=1)

    assert "is an environment that uv throws away" in told.stderr
    assert "uvx --with" in told.stderr
    assert "" == told.stdout


@pytest.mark.skipif(
    not list(SYSTEM.resolve().parents[1].glob("lib/python3*/EXTERNALLY-MANAGED")),
    reason="no Python of an operating system that keeps pip out",
)
def test_the_operating_systems_python(venv: Studio, tools: dict[str, str]) -> None:
    """No command that would be refused, and the ways that are open."""
    (packages,) = Path(venv.program[0]).parents[1].glob("lib/python3*/site-packages")
    studio = Studio([str(SYSTEM), "-m", "peft_studio.cli"], {**tools, "PYTHONPATH": str(packages)})
    told = studio("connectors", "install", "local", code=1)

    assert "belongs to the operating system, which keeps pip out" in told.stderr
    assert "uv tool install peft-studio, or pipx install peft-studio, or a virtual environment" in told.stderr
    assert "" == told.stdout

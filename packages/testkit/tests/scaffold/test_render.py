"""What is written: complete, clean for every choice of features, all of it or nothing."""

from __future__ import annotations

import compileall
import itertools
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from peft_studio import InvalidConfig
from peft_studio.records import FEATURES
from peft_studio_testkit.scaffold import render
from peft_studio_testkit.scaffold.names import LONGEST_DISPLAY_NAME, LONGEST_NAME

SUBSETS = [subset for size in range(1, 5) for subset in itertools.combinations(FEATURES, size)]
FILES = {
    ".github/workflows/ci.yml", ".github/workflows/release.yml", ".gitignore", "CHANGELOG.md", "LICENSE", "README.md",
    "pyproject.toml", "src/peft_studio_acme/__init__.py", "src/peft_studio_acme/api.py",
    "src/peft_studio_acme/connector.json", "src/peft_studio_acme/connector.py", "src/peft_studio_acme/files.py",
    "src/peft_studio_acme/plugin.py",
    "src/peft_studio_acme/py.typed", "src/peft_studio_acme/sandbox.py", "tests/test_acme.py",
}  # fmt: skip


def check(*command: str | Path, cwd: Path) -> None:
    """Run a tool as a module; whatever it complains about is the failure."""
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, check=False, cwd=cwd, stdin=subprocess.DEVNULL
    )
    assert 0 == done.returncode, f"{done.stdout}\n{done.stderr}"


def test_every_file_is_there(tmp_path):
    """A complete distribution, and its files as the answer."""
    written = render("acme", tmp_path / "project")

    assert FILES == {path.relative_to(tmp_path / "project").as_posix() for path in written}
    assert sorted(path for path in (tmp_path / "project").rglob("*") if path.is_file()) == written
    assert ["project"] == [path.name for path in tmp_path.iterdir()]


@pytest.mark.parametrize("features", SUBSETS, ids="+".join)
def test_every_choice_of_features_is_clean_code(tmp_path, features):
    """It compiles, and neither linter nor formatter has a word to say, under the rules that come with it."""
    render("acme", tmp_path / "project", features=features)

    assert compileall.compile_dir(tmp_path / "project", quiet=1)
    check("ruff", "check", "--no-cache", cwd=tmp_path / "project")
    check("ruff", "format", "--check", "--no-cache", cwd=tmp_path / "project")


@pytest.mark.parametrize(
    ("name", "display_name"),
    [
        ("a", "A"),
        ("a-" * 11 + "bc", "Ж" * LONGEST_DISPLAY_NAME),
        ("x" * LONGEST_NAME, "雲" * (LONGEST_DISPLAY_NAME // 2)),
    ],
)
def test_every_name_gives_clean_code(tmp_path, name, display_name):
    """The shortest and the longest names break no line."""
    render(name, tmp_path / "project", features=FEATURES, display_name=display_name)

    check("ruff", "check", "--no-cache", cwd=tmp_path / "project")
    check("ruff", "format", "--check", "--no-cache", cwd=tmp_path / "project")


@pytest.fixture(scope="module")
def mypy_cache(tmp_path_factory) -> Path:
    """What mypy knows of the libraries, which are the same for all projects."""
    return tmp_path_factory.mktemp("mypy")


@pytest.mark.slow
@pytest.mark.parametrize(
    "features", [("training",), ("registry",), ("inference",), ("tracking",), FEATURES], ids="+".join
)
def test_types_are_right(tmp_path, mypy_cache, features):
    """The strict rules of mypy, as the project itself asks for it."""
    render("acme", tmp_path / "project", features=features)

    check("mypy", "--python-executable", sys.executable, "--cache-dir", mypy_cache, cwd=tmp_path / "project")


def test_manifest_and_metadata_say_what_was_chosen(tmp_path):
    """Names, features and entry points."""
    render("acme-cloud", tmp_path / "project", features=("tracking", "registry"), author="Zoë O’Hara")
    manifest = json.loads((tmp_path / "project/src/peft_studio_acme_cloud/connector.json").read_text())
    project = tomllib.loads((tmp_path / "project/pyproject.toml").read_text())["project"]

    assert ("acme-cloud", "Acme Cloud", "Models and runs on Acme Cloud") == (
        manifest["name"], manifest["display_name"], manifest["description"],
    )  # fmt: skip
    assert {"training": False, "inference": False, "registry": True, "tracking": True} == manifest["features"]
    assert ["ACME_CLOUD_API_KEY"] == [field["env"] for field in manifest["credentials"]]
    assert ("peft-studio-acme-cloud", [{"name": "Zoë O’Hara"}]) == (project["name"], project["authors"])
    assert {
        "peft_studio.connectors": {"acme-cloud": "peft_studio_acme_cloud.plugin"},
        "peft_studio.sandboxes": {"acme-cloud": "peft_studio_acme_cloud.sandbox:AcmeCloudSandbox"},
    } == project["entry-points"]


def test_no_trace_of_the_template_is_left(tmp_path):
    """Neither Jinja's marks nor the placeholders of paths; GitHub's own expressions stay."""
    for path in render("acme", tmp_path / "project", features=FEATURES):
        text = path.read_text().replace("${{ matrix.python }}", "")
        for mark in ("{{", "{%", "PACKAGE", ".jinja"):
            assert mark not in text, path


def test_an_unknown_feature_is_refused(tmp_path):
    """The sentence has those that there are; nothing is written."""
    with pytest.raises(InvalidConfig) as caught:
        render("acme", tmp_path / "project", features=("training", "cooking"))

    assert "'cooking' is not a feature: the features are training, inference, registry, tracking" == str(caught.value)
    assert [] == list(tmp_path.iterdir())


def test_no_feature_is_refused(tmp_path):
    """Such a connector would do nothing."""
    with pytest.raises(InvalidConfig, match="does nothing"):
        render("acme", tmp_path / "project", features=())


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    """Nothing of it is changed; an empty folder is fine, and folders on the way are made."""
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InvalidConfig, match="is not empty"):
        render("acme", tmp_path)
    (tmp_path / "empty").mkdir()
    render("acme", tmp_path / "empty")
    render("acme", tmp_path / "a" / "b")

    assert {"mine.txt", "empty", "a"} == {path.name for path in tmp_path.iterdir()}


def test_a_tilde_is_the_home(tmp_path, monkeypatch):
    """Also in a program, where no shell has replaced it."""
    monkeypatch.setenv("HOME", str(tmp_path))

    assert tmp_path / "here" / "pyproject.toml" in render("acme", Path("~/here"))


def test_a_rendering_that_fails_leaves_nothing(tmp_path):
    """A disk that takes only small files gets none of them; the error is one of ours and names the folder."""
    program = """
import resource, sys
from pathlib import Path
from peft_studio import InvalidConfig
from peft_studio_testkit.scaffold import render
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
try:
    render("acme", Path(sys.argv[1]))
except InvalidConfig as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "project"], capture_output=True, text=True, check=True
    )

    assert f"{tmp_path}/project cannot be written: File too large\n" == done.stdout
    assert [] == list(tmp_path.iterdir())


def test_the_same_arguments_give_the_same_files(tmp_path):
    """No date, no order of a set, nothing of this machine."""
    one = render("acme", tmp_path / "one", features=FEATURES)
    two = render("acme", tmp_path / "two", features=FEATURES[::-1])

    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]

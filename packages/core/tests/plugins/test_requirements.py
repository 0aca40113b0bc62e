"""What a user asks to install, and the commands that bring it: the decisions alone, without any environment."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from peft_studio.errors import InvalidConfig, PeftStudioError
from peft_studio.installers import Installation, Installer, shown
from peft_studio.requirements import Requirement, parse_requirement


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project, a wheel beside it, and the user in the folder of both."""
    folder = tmp_path / "acme"
    folder.mkdir()
    (folder / "pyproject.toml").write_text('[project]\nname = "Acme_Plugin"\n')
    (tmp_path / "acme_plugin-1.0-py3-none-any.whl").touch()
    monkeypatch.chdir(tmp_path)
    return folder


def uv_tool(tmp_path: Path, receipt: str) -> Installation:
    """An environment of `uv tool install` with that receipt."""
    prefix = tmp_path / "peft-studio"
    prefix.mkdir()
    (prefix / "uv-receipt.toml").write_text(receipt)
    return Installation(Installer.UV_TOOL, prefix, prefix / "bin/python")


def test_a_connector_of_ours() -> None:
    """Its name stands for what our own extra of that name asks for, which is more than the bare connector."""
    asked = parse_requirement("local")

    assert "peft-studio-local" == asked.name
    assert asked.text.startswith("peft-studio-local[train]")
    assert ";" not in asked.text


@pytest.mark.parametrize(
    ("argument", "name"),
    [
        ("torchx", "torchx"), ("Acme_Plugin[gpu]>=1,<2", "acme-plugin"), ("acme; python_version>'3'", "acme"),
        ("acme @ https://host.example/acme.whl", "acme"), ("https://host.example/acme-1.0.whl", None),
        ("git+https://host.example/acme.git@main", None), ("git+ssh://git@host.example/acme", None),
    ],
)  # fmt: skip
def test_whatever_pip_takes(argument: str, name: str | None, project: Path) -> None:
    """Requirements and addresses go on as they are; a folder that happens to be called so does not count."""
    assert Requirement(argument, name=name) == parse_requirement(argument)
    assert Requirement("acme", name="acme") == parse_requirement("acme")


@pytest.mark.parametrize("argument", ["./acme", "acme/", "../{here}/acme", "{folder}", "./acme[gpu]"])
def test_a_folder(argument: str, project: Path) -> None:
    """A separator makes it one; it goes on as an absolute path, with its extras, and with the name inside."""
    asked = parse_requirement(argument.format(here=project.parent.name, folder=project))
    path, bracket, extras = asked.text.partition("[")

    assert (project, "acme-plugin") == (Path(path).resolve(), asked.name)
    assert Path(path).is_absolute()
    assert ("[gpu]" if "gpu" in argument else "") == bracket + extras


def test_a_wheel(project: Path) -> None:
    """A file of that kind needs no separator; its name tells the distribution."""
    wheel = project.parent / "acme_plugin-1.0-py3-none-any.whl"

    assert Requirement(str(wheel), name="acme-plugin") == parse_requirement(wheel.name)


def test_an_editable_project(project: Path) -> None:
    """Only folders can be installed so."""
    assert Requirement(str(project), name="acme-plugin", is_editable=True) == parse_requirement(
        "./acme", is_editable=True
    )
    with pytest.raises(InvalidConfig, match="acme is not a folder"):
        parse_requirement("acme", is_editable=True)
    with pytest.raises(InvalidConfig, match=r"\.whl is not a folder"):
        parse_requirement("./acme_plugin-1.0-py3-none-any.whl", is_editable=True)


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("what is this", "'what is this' is nothing that can be installed"),
        ("--index-url=x", "'--index-url=x' is nothing that can be installed"),
        ("", "'' is nothing that can be installed"),
        ("./absent", "absent does not exist"),
        ("./", "is not a Python project"),
    ],
)
def test_what_cannot_be_installed(argument: str, sentence: str, project: Path) -> None:
    """Refused before any installer is asked; an option of the installer can never be slipped in."""
    with pytest.raises(InvalidConfig) as caught:
        parse_requirement(argument)

    assert sentence in str(caught.value)
    assert caught.value.remedy


def test_a_torn_project(project: Path) -> None:
    """Told with the place."""
    (project / "pyproject.toml").write_text("[project")
    with pytest.raises(InvalidConfig, match=r"pyproject\.toml cannot be read"):
        parse_requirement("./acme")


def test_everything_that_a_receipt_can_say(tmp_path: Path) -> None:
    """Each kind of requirement in the words of uv's command line; what is asked for anew is not kept twice."""
    receipt = """
[tool]
python = "3.12"
requirements = [
    { name = "peft-studio", editable = "/src/core" },
    { name = "plain" },
    { name = "bound", extras = ["a", "b"], specifier = ">=1,<2", marker = "python_version > '3'" },
    { name = "wheel", path = "/w/wheel-1.whl" },
    { name = "address", url = "https://host.example/address.whl" },
    { name = "tip", git = "https://host.example/tip" },
    { name = "tag", git = "https://host.example/tag?subdirectory=sub%20dir&tag=v1#abcdef" },
    { name = "Asked_Again", specifier = "==1" },
]
"""
    command = uv_tool(tmp_path, receipt).install(Requirement("asked-again==2", name="asked-again"))

    assert [
        *("uv", "tool", "install", "--python", "3.12", "--editable", "/src/core"),
        *("--with", "plain"),
        *("--with", "bound[a,b]>=1,<2 ; python_version > '3'"),
        *("--with", "wheel @ file:///w/wheel-1.whl"),
        *("--with", "address @ https://host.example/address.whl"),
        *("--with", "tip @ git+https://host.example/tip"),
        *("--with", "tag @ git+https://host.example/tag@v1#subdirectory=sub dir"),
        *("--with", "asked-again==2"),
    ] == command


@pytest.mark.parametrize(
    ("receipt", "sentence"),
    [
        ("[tool", "cannot be read"),
        ("[tool]\n", "cannot be read: 'requirements'"),
        ('[tool]\nrequirements = [{ name = "other" }]\n', "does not name peft-studio"),
        (
            '[tool]\nrequirements = [{ name = "x", moon = "y" }]\n',
            'x came in a way that is not known here: {"moon": "y"}',
        ),
    ],
)
def test_a_receipt_that_is_not_understood(receipt: str, sentence: str, tmp_path: Path) -> None:
    """Rather no command than one that loses a plugin."""
    with pytest.raises(PeftStudioError) as caught:
        uv_tool(tmp_path, receipt).install(Requirement("acme"))

    assert sentence in str(caught.value)
    assert caught.value.remedy


def test_pipx_for_everybody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was installed for all users of a machine is added to with --global."""
    monkeypatch.setenv("PIPX_GLOBAL_HOME", str(tmp_path))
    installation = Installation(Installer.PIPX, tmp_path / "venvs" / "peft-studio", Path(sys.executable))

    assert ["pipx", "inject", "--global", "peft-studio", "acme"] == installation.install(Requirement("acme"))


def test_pipx_takes_one_kind_at_a_time(tmp_path: Path) -> None:
    """Its --editable is about all that it injects."""
    installation = Installation(Installer.PIPX, tmp_path / "peft-studio", Path(sys.executable))
    with pytest.raises(PeftStudioError, match="pipx takes either editable plugins or others"):
        installation.install(Requirement("a"), Requirement("/b", is_editable=True))


def test_a_command_to_copy() -> None:
    """Quoted for a shell."""
    assert "uv pip install 'a[b]>=1,<2'" == shown(["uv", "pip", "install", "a[b]>=1,<2"])

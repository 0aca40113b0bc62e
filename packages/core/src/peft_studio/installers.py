"""How peft-studio was installed here, and so which command adds a plugin to it.

pipx and uv tool leave a file of their own in the environment; everything else is told from the interpreter. Nothing is
run to find out. A command is a list of words, never a line for a shell.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import sysconfig
from enum import StrEnum
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from attrs import frozen

from peft_studio._metadata import normalized
from peft_studio.errors import PeftStudioError
from peft_studio.requirements import Requirement

CORE = "peft-studio"

#: Folders of uv's cache that hold the environments of `uvx` and `uv run --with`.
_UV_CACHE = re.compile(r"(archive|environments|builds)-v\d+")


class Installer(StrEnum):
    """The program that peft-studio was installed with, or that can add to it."""

    PIP = "pip"
    UV = "uv"
    UV_TOOL = "uv tool"
    PIPX = "pipx"
    CONDA = "conda"


@frozen
class Installation:
    """The environment that peft-studio runs in."""

    installer: Installer
    prefix: Path
    python: Path

    def install(self, *wanted: Requirement) -> list[str]:
        """The command that adds plugins. Raises `PeftStudioError` where one cannot be had."""
        if self.installer is Installer.UV_TOOL:
            return _uv_tool_install(self.prefix, wanted)
        if self.installer is Installer.PIPX:
            return _pipx_inject(self.prefix, wanted)
        words = [word for each in wanted for word in (("-e", each.text) if each.is_editable else (each.text,))]
        if self.installer is Installer.UV:
            return ["uv", "pip", "install", "--python", str(self.python), *words]
        return [str(self.python), "-m", "pip", "install", *words]


def this_installation() -> Installation:
    """How this very program is installed. Raises `PeftStudioError` where nothing may be added to it."""
    prefix, python = Path(sys.prefix), Path(sys.executable)
    installer = _installer(prefix)
    if getattr(sys, "frozen", False):
        raise PeftStudioError(f"{python} is one file with everything inside, and takes no plugins")
    if any(_UV_CACHE.fullmatch(part) for part in prefix.parts):
        remedy = f"uvx --with PLUGIN {CORE}, or uv tool install {CORE} to keep it"
        raise PeftStudioError(f"{prefix} is an environment that uv throws away", remedy=remedy)
    if installer is Installer.PIP and sys.prefix == sys.base_prefix and _is_externally_managed():
        raise PeftStudioError(
            f"the Python in {prefix} belongs to the operating system, which keeps pip out",
            remedy=f"uv tool install {CORE}, or pipx install {CORE}, or a virtual environment: then ask that one",
        )
    return Installation(installer, prefix, python)


def _installer(prefix: Path) -> Installer:
    if (prefix / "uv-receipt.toml").is_file():
        return Installer.UV_TOOL
    if (prefix / "pipx_metadata.json").is_file():
        return Installer.PIPX
    if (prefix / "conda-meta").is_dir():
        return Installer.CONDA
    # Not importlib's own search: setuptools listens to it, and who looks for pip can no longer import setuptools.
    return Installer.PIP if PathFinder.find_spec("pip") else Installer.UV


def _is_externally_managed() -> bool:
    """True for a Python that carries the marker of PEP 668."""
    return Path(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED").is_file()


def _pipx_inject(prefix: Path, wanted: tuple[Requirement, ...]) -> list[str]:
    words = ["pipx", "inject"]
    everybody = Path(os.environ.get("PIPX_GLOBAL_HOME", "/opt/pipx"))
    if everybody in prefix.parents:
        words.append("--global")
    editable = [each.is_editable for each in wanted]
    if any(editable) and not all(editable):
        raise PeftStudioError("pipx takes either editable plugins or others", remedy="install them one after the other")
    return [*words, *(["--editable"] if any(editable) else []), prefix.name, *(each.text for each in wanted)]


def _uv_tool_install(prefix: Path, wanted: tuple[Requirement, ...]) -> list[str]:
    """`uv tool install` replaces what the tool came with before, so all of that is named again."""
    receipt = prefix / "uv-receipt.toml"
    tool = _read_receipt(receipt)
    known = [_from_receipt(entry, receipt) for entry in tool["requirements"]]
    main = next((each for each in known if each.name == normalized(prefix.name)), None)
    if main is None:
        raise PeftStudioError(f"{receipt} does not name {prefix.name}", remedy=f"uv tool install --force {prefix.name}")
    names = {each.name for each in wanted if each.name}
    kept = [each for each in known if each is not main and each.name not in names]
    python = ["--python", tool["python"]] if "python" in tool else []
    words = ["uv", "tool", "install", *python, *(["--editable"] if main.is_editable else []), main.text]
    for each in (*kept, *wanted):
        words += ["--with-editable" if each.is_editable else "--with", each.text]
    return words


def _read_receipt(receipt: Path) -> dict[str, Any]:
    import tomllib

    try:
        tool: dict[str, Any] = tomllib.loads(receipt.read_text(encoding="utf-8"))["tool"]
        tool["requirements"] = [dict(entry) for entry in tool["requirements"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = f"uv tool install --force {CORE}, with the plugins that you need"
        raise PeftStudioError(f"{receipt} cannot be read", why=str(error), remedy=remedy) from error
    return tool


def _from_receipt(entry: dict[str, Any], receipt: Path) -> Requirement:
    """A requirement as uv wrote it down, in the words of its command line."""
    name = entry["name"]
    origins = {key: value for key, value in entry.items() if key not in ("name", "extras", "specifier", "marker")}
    extras = f"[{','.join(entry['extras'])}]" if entry.get("extras") else ""
    marker = f" ; {entry['marker']}" if entry.get("marker") else ""
    match list(origins.items()):
        case []:
            return Requirement(f"{name}{extras}{entry.get('specifier', '')}{marker}", name=normalized(name))
        case [("editable", folder)]:
            return Requirement(f"{folder}{extras}", name=normalized(name), is_editable=True)
        case [("directory" | "path", place)]:
            return Requirement(f"{name}{extras} @ {Path(place).as_uri()}{marker}", name=normalized(name))
        case [("url", url)]:
            return Requirement(f"{name}{extras} @ {url}{marker}", name=normalized(name))
        case [("git", url)]:
            return Requirement(f"{name}{extras} @ {_git(url)}{marker}", name=normalized(name))
    remedy = f"run uv tool install yourself: {receipt} has all that is installed now"
    raise PeftStudioError(f"{name} came in a way that is not known here: {json.dumps(origins)}", remedy=remedy)


def _git(url: str) -> str:
    """`https://host/x?rev=main&subdirectory=y#commit`, as receipts have it, in the form of a requirement."""
    from urllib.parse import parse_qs

    address, _, query = url.partition("#")[0].partition("?")
    told = {key: values[0] for key, values in parse_qs(query).items()}
    reference = next((told[key] for key in ("rev", "tag", "branch") if key in told), None)
    subdirectory = f"#subdirectory={told['subdirectory']}" if "subdirectory" in told else ""
    return f"git+{address}{f'@{reference}' if reference else ''}{subdirectory}"


def shown(command: list[str]) -> str:
    """The command as a line to copy."""
    if os.name == "nt":
        from subprocess import list2cmdline

        return list2cmdline(command)
    return shlex.join(command)


def remedy_to_install(requirement: str, *, is_editable: bool = False) -> str:
    """The line that installs it here, or what to do where nothing may be installed."""
    try:
        return shown(this_installation().install(Requirement(requirement, is_editable=is_editable)))
    except PeftStudioError as error:
        return f"install {requirement} beside {CORE}: {error.remedy or error}"

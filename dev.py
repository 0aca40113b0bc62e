#!/usr/bin/env python3
"""Set up and run anything in this checkout with nothing but Python, pip and venv: `python3 dev.py demo`.

It keeps nox, and uv where it can be had, in `.nox/runner` and hands over to the session of that name in noxfile.py.
uv does not read pip's settings, so it is told here what pip is told on this machine by PIP_* variables and pip's files.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import shutil
import subprocess
import sys
from difflib import get_close_matches
from pathlib import Path

ROOT = Path(__file__).resolve().parent
RUNNER = ROOT / ".nox" / "runner"
PYTHON = RUNNER / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
NOX = "nox>=2026.10"
#: Rises when the runner must be made anew.
RUNNER_VERSION = 2


def main(arguments: list[str]) -> int:
    """Run the session that is named first with the arguments that follow."""
    require_python()
    sessions = known_sessions()
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(overview(sessions))
        return 0
    name, *rest = arguments
    if name not in sessions:
        likely = get_close_matches(name, sessions, n=1)
        raise SystemExit(f"dev.py: there is no session {name!r}" + (f"; did you mean {likely[0]!r}?" if likely else ""))
    make_runner()
    pip = pip_settings()
    backend = "uv" if runs("uv", "--version") and not pip.get("no-index") else "virtualenv"
    command = ["-m", "nox", "-f", str(ROOT / "noxfile.py"), "-db", backend, "-s", name]
    return hand_over([str(PYTHON), *command, "--", *rest[rest[:1] == ["--"] :]], {**uv_settings(pip), **os.environ})


def require_python() -> None:
    """Say what is missing before anything is made."""
    if sys.version_info < (3, 11):
        newer = [name for name in ("python3.13", "python3.12", "python3.11") if shutil.which(name)]
        hint = f"; try: {newer[0]} dev.py {' '.join(sys.argv[1:])}" if newer else ""
        raise SystemExit(f"dev.py: needs Python 3.11 or newer, this is {sys.version.split()[0]}{hint}")
    if not all(importlib.util.find_spec(module) for module in ("venv", "ensurepip")):
        raise SystemExit("dev.py: this Python came without venv or pip; on Debian and Ubuntu: apt install python3-venv")


def known_sessions() -> dict[str, str]:
    """Each session of noxfile.py with the first line of its docstring, read without nox."""
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    sessions = [node for node in functions if any("session" in ast.unparse(each) for each in node.decorator_list)]
    return {node.name.strip("_").replace("_", "-"): (ast.get_docstring(node) or "").split("\n")[0] for node in sessions}


def overview(sessions: dict[str, str]) -> str:
    """The text of --help."""
    lines = [f"  {name:<14} {summary}" for name, summary in sessions.items()]
    note = "Arguments after the session are passed on: python3 dev.py test -k ledger\nTo start afresh: rm -r .nox"
    return "\n".join(["usage: python3 dev.py SESSION [ARGUMENTS]", "", *lines, "", note])


def make_runner() -> None:
    """Make the environment with nox and uv, unless it is there for this Python."""
    ready = RUNNER / "ready"
    wanted = f"{RUNNER_VERSION} {NOX} {sys.version} {sys.base_prefix}"
    if PYTHON.exists() and ready.exists() and ready.read_text(encoding="utf-8") == wanted:
        return
    say(f"making {RUNNER.relative_to(ROOT)} for nox and uv (once)")
    shutil.rmtree(RUNNER, ignore_errors=True)
    if subprocess.run([sys.executable, "-m", "venv", str(RUNNER)], check=False).returncode:
        raise SystemExit("dev.py: venv failed, see above; on Debian and Ubuntu: apt install python3-venv")
    install = ("pip", "install", "-qq", "--disable-pip-version-check")
    if subprocess.run([str(PYTHON), "-m", *install, NOX], check=False).returncode:
        raise SystemExit(
            "dev.py: pip could not install nox, see above. Without a network, or behind a mirror, tell pip where "
            "packages are: PIP_INDEX_URL or PIP_FIND_LINKS"
        )
    if not runs(*install, "--only-binary=:all:", "uv"):
        say("uv cannot be had here; pip does its work, more slowly")
    ready.write_text(wanted, encoding="utf-8")


def runs(*module: str) -> bool:
    """True when the module of the runner ends without an error; its output is not wanted."""
    return subprocess.run([str(PYTHON), "-m", *module], check=False, capture_output=True).returncode == 0


def pip_settings() -> dict[str, str]:
    """What pip is told on this machine, by the names of its options."""
    command = [str(PYTHON), "-m", "pip", "config", "list"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return read_pip_settings(listing)


def read_pip_settings(listing: str) -> dict[str, str]:
    """Read `pip config list`; the environment goes before [install], and that before [global]."""
    found: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        if section in found:
            found[section][name] = ast.literal_eval(value)
    return {**found["global"], **found["install"], **found[":env:"]}


def uv_settings(pip: dict[str, str]) -> dict[str, str]:
    """The same settings by the names that uv reads from its environment."""

    def several(name: str, separator: str = " ") -> str:
        return separator.join(pip.get(name, "").split())

    settings = {
        "UV_DEFAULT_INDEX": "" if "UV_INDEX_URL" in os.environ else pip.get("index-url", ""),
        "UV_INDEX": "" if "UV_EXTRA_INDEX_URL" in os.environ else several("extra-index-url"),
        # pip takes the best version from all indexes; uv by itself looks no further than the first that has the name.
        "UV_INDEX_STRATEGY": "unsafe-best-match" if "extra-index-url" in pip else "",
        "UV_FIND_LINKS": several("find-links", ","),
        "UV_CONSTRAINT": several("constraint"),
        "UV_BUILD_CONSTRAINT": several("build-constraint"),
        "UV_INSECURE_HOST": several("trusted-host"),
        "UV_HTTP_TIMEOUT": pip.get("timeout", pip.get("default-timeout", "")),
        "UV_HTTP_RETRIES": pip.get("retries", ""),
        "SSL_CERT_FILE": pip.get("cert", ""),
        "SSL_CLIENT_CERT": pip.get("client-cert", ""),
        "ALL_PROXY": pip.get("proxy", ""),
    }
    return {name: value for name, value in settings.items() if value}


def say(message: str) -> None:
    """A line of progress."""
    print(f"dev.py: {message}", file=sys.stderr, flush=True)


def hand_over(command: list[str], environment: dict[str, str]) -> int:
    """Become the command, so that Ctrl-C reaches it alone; Windows cannot, and waits."""
    if os.name != "nt":
        os.execve(command[0], command, environment)
    return subprocess.run(command, check=False, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

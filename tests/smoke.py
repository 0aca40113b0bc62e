"""Does an installed distribution start? Run by `python3 dev.py isolated` where its sources are not."""

import subprocess
import sys
from importlib import import_module
from importlib.metadata import EntryPoint, distribution
from pathlib import Path


def main(name: str) -> None:
    """Look into the installed distribution and start what it brings."""
    files = {str(file) for file in distribution(name).files or ()}
    package = name.replace("-", "_")
    module = import_module(package)
    assert "site-packages" in Path(str(module.__file__)).parts, f"{module.__file__} is not the installed one"
    assert f"{package}/py.typed" in files, "py.typed is missing"
    assert any(file.endswith("licenses/LICENSE") for file in files), "the licence is missing"
    for entry_point in distribution(name).entry_points:
        start(entry_point)
    print(f"{name} {distribution(name).version} starts")  # noqa: T201 -- a program, run by nox


def start(entry_point: EntryPoint) -> None:
    """A command answers --version; a plugin loads; a sandbox waits for the testkit, which is no requirement."""
    if entry_point.group == "peft_studio.sandboxes":
        return
    if entry_point.group != "console_scripts":
        entry_point.load()
        return
    command = Path(sys.executable).with_name(entry_point.name)
    answer = subprocess.run([command, "--version"], check=True, capture_output=True, text=True).stdout
    assert distribution("peft-studio").version in answer, answer


if __name__ == "__main__":
    main(sys.argv[1])

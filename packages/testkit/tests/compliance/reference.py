"""The reference connector, which is what the scaffolder writes with all features: installed, and spoilt on demand."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from attrs import frozen
from hatchling import build

from peft_studio.records import FEATURES
from peft_studio_testkit.compliance import Subject
from peft_studio_testkit.scaffold.render import render

NAME = "acme"


@frozen
class Edit:
    """One change of the rendered project. `old` None makes the file, `new` None deletes it."""

    file: str
    old: str | None
    new: str | None

    @property
    def path(self) -> str:
        """Where the file is in the project."""
        return self.file if self.file in ("pyproject.toml", "LICENSE") else f"src/peft_studio_{NAME}/{self.file}"

    def of(self, text: str | None) -> str:
        """The changed text. Fails unless `old` is there exactly once."""
        assert self.new is not None
        if self.old is None:
            assert text is None, f"there is a {self.file} already"
            return self.new
        assert text is not None, f"there is no {self.file}"
        assert text.count(self.old) == 1, f"{self.file} has {text.count(self.old)} times:\n{self.old}"
        return text.replace(self.old, self.new)

    def apply(self, project: Path) -> None:
        """Change the file."""
        file = project / self.path
        if self.new is None:
            file.unlink()
        else:
            file.write_text(self.of(file.read_text(encoding="utf-8") if file.exists() else None), encoding="utf-8")


def install(folder: Path, edits: Iterable[Edit] = (), features: Sequence[str] = FEATURES) -> Path:
    """Render the connector, edit it, build its wheel, and unpack that into a directory for sys.path."""
    project = folder / "project"
    render(NAME, project, features=features)
    for edit in edits:
        edit.apply(project)
    with contextlib.chdir(project), contextlib.redirect_stdout(io.StringIO()):
        wheel = build.build_wheel(str(folder))
    site = folder / "site"
    with zipfile.ZipFile(folder / wheel) as archive:
        archive.extractall(site)
    return site


@contextlib.contextmanager
def subject(site: Path) -> Iterator[Subject]:
    """The installed connector with its sandbox, ready for checks. One connector of that name for each process."""
    sys.path.insert(0, str(site))
    importlib.invalidate_caches()
    try:
        connector = importlib.import_module(f"peft_studio_{NAME}.connector").AcmeConnector
        sandbox = importlib.import_module(f"peft_studio_{NAME}.sandbox").AcmeSandbox()
        with sandbox:
            yield Subject(connector, sandbox, path=[str(site)])
    finally:
        sys.path.remove(str(site))


@contextlib.contextmanager
def quiet(folder: Path) -> Iterator[None]:
    """What a connector leaves on the disk stays in `folder`, and what it prints is not shown."""
    os.environ["TMPDIR"] = os.environ["HOME"] = str(folder)
    tempfile.tempdir = None
    nowhere = io.StringIO()
    with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield

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

    def apply(self, project: Path) -> None:
        """Change the file. Fails unless `old` is there exactly once."""
        at_top = self.file in ("pyproject.toml", "LICENSE")
        path = project / (self.file if at_top else f"src/peft_studio_{NAME}/{self.file}")
        if self.new is None:
            path.unlink()
        elif self.old is None:
            assert not path.exists(), f"there is a {self.file} already"
            path.write_text(self.new, encoding="utf-8")
        else:
            text = path.read_text(encoding="utf-8")
            assert text.count(self.old) == 1, f"{self.file} has {text.count(self.old)} times:\n{self.old}"
            path.write_text(text.replace(self.old, self.new), encoding="utf-8")


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

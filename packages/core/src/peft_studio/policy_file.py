"""Change [plugins] in settings.toml, and leave everything else that the user wrote as it is.

A file that cannot be understood is refused, never overwritten. The new text replaces the old in one rename, keeps the
file's mode, and goes where a symbolic link points. The draft that is renamed is also the lock: while it is there, any
other command waits.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from peft_studio import policy
from peft_studio._metadata import normalized
from peft_studio._toml_edit import CannotEdit, Value, put
from peft_studio.errors import InvalidConfig

#: Turns the [plugins] table into the new value of one key, or gives back the value that is there.
Change = Callable[[Mapping[str, Any]], Value]


class PolicyFile:
    """The [plugins] table of one settings.toml; the user's own, unless told otherwise. Raises `InvalidConfig`."""

    def __init__(self, path: Path | None = None, *, patience: float = 5.0) -> None:
        self.path = policy.settings_file() if path is None else path
        #: How long to wait for another command that changes the file, seconds.
        self.patience = patience

    def add(self, key: str, names: Iterable[str]) -> list[str]:
        """Put names on the list `key` ("allow" or "deny"); returns those that were not on it."""
        wanted = list(dict.fromkeys(names))
        before = self._change((key,), lambda plugins: _joined(plugins.get(key, []), wanted))
        return [name for name in wanted if name not in before.get(key, [])]

    def remove(self, key: str, names: Iterable[str]) -> list[str]:
        """Take names off the list `key`, however their distribution is spelt; returns those that were on it."""
        wanted = list(dict.fromkeys(names))

        def shorter(plugins: Mapping[str, Any]) -> Value:
            gone = {same for name in wanted for same in _spellings(name, plugins.get(key, []))}
            return [name for name in plugins[key] if name not in gone] if gone else plugins.get(key)

        before = self._change((key,), shorter)
        return [name for name in wanted if _spellings(name, before.get(key, []))]

    def drop(self, key: str) -> bool:
        """Take out the whole list `key`; False when there was none."""
        return key in self._change((key,), lambda _: None)

    def pin(self, name: str, distribution: str) -> str | None:
        """Say that the connector name belongs to that distribution; returns what it was pinned to before."""
        return _pinned(self._change(("pin", name), lambda _: distribution), name)

    def unpin(self, name: str) -> str | None:
        """Take a pin out; returns what the name was pinned to."""
        return _pinned(self._change(("pin", name), lambda _: None), name)

    def _change(self, key: tuple[str, ...], change: Change) -> Mapping[str, Any]:
        """Write the new value and return the table as it was before."""
        with self._draft() as draft:
            data = policy.read_bytes(self.path)
            before = {} if data is None else policy.parse_settings(data, self.path)
            text = "" if data is None else data.decode("utf-8")
            try:
                edited = put(text, ("plugins", *key), change(before))
            except CannotEdit as error:
                remedy = "change it in an editor (docs/reference/plugins.md has the form)"
                raise InvalidConfig(f"{self.path} cannot be changed", why=str(error), remedy=remedy) from error
            if edited != text:
                draft.write(edited.encode("utf-8"))
        return before

    @contextmanager
    def _draft(self) -> Iterator[BinaryIO]:
        """A file that takes the place of settings.toml when the block ends, if anything was written to it."""
        target = Path(os.path.realpath(self.path))
        draft = target.with_name(f".{target.name}.draft")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            file = self._open(draft)
            try:
                with file:
                    yield file
                    file.flush()
                    os.fsync(file.fileno())
                if draft.stat().st_size == 0:
                    draft.unlink()
                    return
                if target.exists():
                    shutil.copymode(target, draft)
                draft.replace(target)
            except BaseException:
                draft.unlink(missing_ok=True)
                raise
        except OSError as error:
            remedy = "mend the permissions of its folder"
            raise InvalidConfig(f"{self.path} cannot be written", why=error.strerror, remedy=remedy) from error

    def _open(self, draft: Path) -> BinaryIO:
        """The draft as a new file; waits while another command has it."""
        deadline = time.monotonic() + self.patience
        while True:
            try:
                return draft.open("xb")
            except FileExistsError:
                if time.monotonic() > deadline:
                    remedy = f"if that is not so, remove {draft}"
                    raise InvalidConfig(f"{self.path} is being changed by another command", remedy=remedy) from None
            time.sleep(0.01)


def _spellings(name: str, names: Iterable[str]) -> list[str]:
    """Those of `names` that are `name`, or else the same distribution in another spelling."""
    known = list(names)
    return [name] if name in known else [other for other in known if normalized(other) == normalized(name)]


def _joined(names: list[str], more: list[str]) -> list[str]:
    return [*names, *(name for name in more if name not in names)]


def _pinned(plugins: Mapping[str, Any], name: str) -> str | None:
    owner: str | None = plugins.get("pin", {}).get(name)
    return owner

"""A file of credentials, encrypted with a passphrase: for servers that have no keyring, and only when asked for.

`keyrings.cryptfile` does the cryptography: a key from the passphrase by Argon2id, and AES-GCM, which also notices that
somebody changed the file. Names of connectors can be read in it, nothing else. Each change is one rename.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from peft_studio import paths
from peft_studio._file_lock import FileLock
from peft_studio.credentials.found import Source
from peft_studio.credentials.keyring_store import SERVICE
from peft_studio.credentials.stores import Entry, NoStore, StoreUnusable
from peft_studio.secret import Secret

VARIABLE = "PEFT_STUDIO_PASSPHRASE"
#: What the library writes first: it tells a wrong passphrase before anything is written under it.
_REFERENCE = "keyring-setting"
#: Seconds to wait for another program that changes the file.
_PATIENCE = 60.0

#: Asks the user for the passphrase of a file; the argument tells whether it is a new one.
Ask = Callable[[Path, bool], str]
_ask: Ask | None = None


def ask_with(function: Ask | None) -> None:
    """Let the user be asked for a passphrase that the environment does not have: for a program with a terminal."""
    global _ask  # noqa: PLW0603 -- there is one terminal
    _ask = function


class EncryptedFile:
    """Entries in one file, by default in the user's data directory."""

    source = Source.ENCRYPTED_FILE

    def __init__(self, path: Path | None = None) -> None:
        self.path = paths.data_dir() / "credentials" / "credentials.cfg" if path is None else path
        self._passphrase: Secret | None = None

    @property
    def detail(self) -> str:
        """Where it is."""
        return str(self.path)

    def open(self) -> None:
        """Take the passphrase, and see that it is the right one."""
        _library("keyrings.cryptfile.cryptfile")
        if self.path.exists():
            self._connectors()
            self._unlocked(self.path)
        else:
            self._opened_with()

    def get(self, connector: str) -> Entry | None:
        """The entry, or None, for which no passphrase is needed."""
        if not self._has(connector):
            return None
        file = self._unlocked(self.path)
        try:
            text = file.get_password(SERVICE, connector)
        except ValueError:  # its message authentication code is wrong
            raise StoreUnusable(f"the entry {connector} in {self.path} was changed", remedy="log in again") from None
        return Entry.from_json(str(text), f"{self.path}, entry {connector},")

    def put(self, connector: str, entry: Entry) -> None:
        """Keep the entry. The first one decides the passphrase."""
        with self._alone():
            if self.path.exists():
                self._connectors()
            with self._draft() as draft:
                self._unlocked(draft).set_password(SERVICE, connector, entry.to_json())

    def remove(self, connector: str) -> bool:
        """Remove the entry, for which no passphrase is needed; the last one takes the file with it."""
        if not self._has(connector):
            return False
        with self._alone():
            with self._draft() as draft:
                _cryptfile(draft).delete_password(SERVICE, connector)
            if not self._connectors():
                self.path.unlink()
        return True

    def _has(self, connector: str) -> bool:
        return self.path.is_file() and connector in self._connectors()

    def _connectors(self) -> set[str]:
        """Names that have an entry; they are not encrypted. Raises `StoreUnusable` for a file of something else."""
        from configparser import Error, RawConfigParser

        names, content = _library("keyrings.cryptfile.escape"), RawConfigParser()
        try:
            content.read_string(self.path.read_text(encoding="utf-8"))
        except OSError as error:
            raise StoreUnusable(f"{self.path} cannot be read", why=error.strerror) from None
        except (Error, UnicodeDecodeError):
            content.clear()
        if not content.has_section(names.escape(_REFERENCE)):
            raise StoreUnusable(f"{self.path} is no file of credentials", remedy="move it away")
        section = names.escape(SERVICE)
        return {names.unescape(name) for name in content.options(section)} if content.has_section(section) else set()

    def _unlocked(self, path: Path) -> Any:
        file = _cryptfile(path)
        try:
            file.keyring_key = self._opened_with()
        except ValueError:
            self._passphrase = None
            raise StoreUnusable(
                f"the passphrase does not open {self.path}", why="it is another one, or the file was changed"
            ) from None
        return file

    def _opened_with(self) -> str:
        if self._passphrase is None:
            from peft_studio.redaction import hold

            given = os.environ.get(VARIABLE, "")
            self._passphrase = Secret(given if given.strip() else self._asked())
            hold([self._passphrase])
        return self._passphrase.reveal()

    def _asked(self) -> str:
        if _ask is None:
            raise StoreUnusable(f"{self.path} is locked", remedy=f"set {VARIABLE}")
        return _ask(self.path, not self.path.exists())

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """While no other program changes the file."""
        lock, patience = FileLock(paths.state_dir() / "credentials.lock"), monotonic() + _PATIENCE
        try:
            while not lock.try_acquire():
                if monotonic() > patience:
                    raise StoreUnusable(f"{self.path} is being changed by another program", remedy="try again")
                sleep(0.05)
            yield
        except OSError as error:
            raise StoreUnusable(f"{self.path} cannot be changed", why=error.strerror) from None
        finally:
            lock.release()

    @contextmanager
    def _draft(self) -> Iterator[Path]:
        """A copy to change, which takes the file's place if all goes well; nobody but the user can read either."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path.parent.chmod(0o700)
            number, name = tempfile.mkstemp(dir=self.path.parent, prefix=".credentials-")
            with os.fdopen(number, "wb") as copy:
                copy.write(self.path.read_bytes() if self.path.exists() else b"")
        except OSError as error:
            raise StoreUnusable(f"{self.path} cannot be written", why=error.strerror) from None
        draft = Path(name)
        try:
            yield draft
            draft.replace(self.path)
        finally:
            draft.unlink(missing_ok=True)


def _cryptfile(path: Path) -> Any:
    file = _library("keyrings.cryptfile.cryptfile").CryptFileKeyring()
    file.file_path = str(path)
    return file


def _library(module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError:
        raise NoStore(
            "the library for encrypted files is not installed", remedy="pip install 'peft-studio[encrypted-file]'"
        ) from None

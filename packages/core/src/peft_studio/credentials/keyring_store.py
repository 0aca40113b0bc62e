"""The keyring of the operating system: Secret Service, KWallet, macOS Keychain, Windows Credential Manager.

The `keyring` library is an extra and is imported when a credential is stored or was found nowhere else. Asking it can
open a dialogue of the desktop, and on a server where none can be shown it may wait for ever, so it has a time limit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from peft_studio._guard import TookTooLong, guarded
from peft_studio.credentials.found import Source
from peft_studio.credentials.stores import Entry, NoStore, StoreUnusable

SERVICE = "peft-studio"
#: Seconds for one question: somebody may have to type the password of the keyring.
LIMIT = 60.0

CHOICES = (
    "set the environment variable, install a plugin that asks your vault, or keep an encrypted file: "
    "peft-studio auth login NAME --encrypted-file"
)

Answer = TypeVar("Answer")


class KeyringStore:
    """Entries in the user's keyring, under the service ``peft-studio`` and the connector's name."""

    source = Source.KEYRING

    @property
    def detail(self) -> str:
        """Name of the keyring."""
        return _asked(lambda: str(_backend().name))

    def open(self) -> None:
        """Ask it for something, which unlocks it."""
        _asked(lambda: _backend().get_password(SERVICE, SERVICE))

    def get(self, connector: str) -> Entry | None:
        """The entry, or None."""
        text: str | None = _asked(lambda: _backend().get_password(SERVICE, connector))
        return None if text is None else Entry.from_json(text, f"the keyring entry {SERVICE}/{connector}")

    def put(self, connector: str, entry: Entry) -> None:
        """Keep the entry, and see that it is kept: one that is switched off takes everything and keeps nothing."""
        text = entry.to_json()
        _asked(lambda: _backend().set_password(SERVICE, connector, text))
        if _asked(lambda: _backend().get_password(SERVICE, connector)) != text:
            raise StoreUnusable(f"the keyring ({self.detail}) keeps nothing", remedy=CHOICES)

    def remove(self, connector: str) -> bool:
        """Remove the entry, also one that cannot be read."""
        if _asked(lambda: _backend().get_password(SERVICE, connector)) is None:
            return False
        _asked(lambda: _backend().delete_password(SERVICE, connector))
        return True


def _asked(question: Callable[[], Answer]) -> Answer:
    """The keyring's answer. Raises `StoreUnusable` whatever goes wrong, and without what it was given."""
    outcome = guarded(question, LIMIT)
    if outcome.error is None:
        answer: Answer = outcome.value
        return answer
    if isinstance(outcome.error, StoreUnusable):
        raise outcome.error
    why = " ".join(str(outcome.error).split()).rstrip(".") or type(outcome.error).__name__
    if isinstance(outcome.error, TookTooLong):
        why = f"{outcome.error}; it may be waiting for its password"
    kind = NoStore if type(outcome.error).__name__ == "NoKeyringError" else StoreUnusable
    raise kind("the keyring cannot be used", why=why, remedy=CHOICES)


def _backend() -> Any:
    """The keyring that the library, or its own configuration, chooses; never a file unless the user named it there.

    Packages that encrypt files, or do not even encrypt them, offer themselves to the library as soon as they are
    installed. Which one we use is for the user to say.
    """
    try:
        import keyring
        import keyring.core
        from keyring.backends.chainer import ChainerBackend
    except ImportError:
        remedy = f"pip install 'peft-studio[keyring]'; or else {CHOICES}"
        raise NoStore("the keyring library is not installed", remedy=remedy) from None
    chosen: Any = keyring.get_keyring()
    if isinstance(chosen, ChainerBackend):
        chosen = next(iter(chosen.backends))
    is_file = hasattr(chosen, "file_path")
    if is_file and keyring.core.load_env() is None and keyring.core.load_config() is None:
        raise NoStore("there is no keyring of the operating system here", remedy=CHOICES)
    return chosen

"""Names an account in file names without giving anything away: a hash with a key that only this machine has."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from peft_studio.errors import PeftStudioError
from peft_studio.paths import state_dir


def account_id(secrets_of_account: Mapping[str, str]) -> str:
    """24 letters that are the same for the same credentials on this machine, and tell nothing of them anywhere.

    Raises `PeftStudioError` when the state directory cannot be used.
    """
    digest = hashlib.blake2b(key=_key(), digest_size=12)
    for name, value in sorted(secrets_of_account.items()):
        digest.update(f"{name}\0{value}\0".encode())
    return digest.hexdigest()


def _key() -> bytes:
    """32 random bytes of this machine, made once; of two programs that make them at once the first one's stay."""
    path = state_dir() / "accounts" / "key"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            _make_key(path)
        return path.read_bytes()
    except OSError as error:
        raise PeftStudioError(
            f"{path} cannot be used", why=error.strerror, remedy="mend the state directory"
        ) from error


def _make_key(path: Path) -> None:
    draft = path.with_name(f".key-{secrets.token_hex(8)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_bytes(32))
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()

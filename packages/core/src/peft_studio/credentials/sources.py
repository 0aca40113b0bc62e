"""Who may know a field of a connector: the sources, the strongest first, each asked only when it is needed."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from peft_studio.credentials.found import Found, Source
from peft_studio.credentials.stores import Entry, Store, StoreUnusable
from peft_studio.errors import PeftStudioError
from peft_studio.manifest import Manifest
from peft_studio.secret import Secret

#: Asks the vault plugins for a field: who answered, and what.
Vault = Callable[[str], tuple[str, str] | None]

Answer = tuple[Found, Secret]


def own_variable(connector: str, field: str) -> str:
    """The variable of a field that every connector has, whatever the platform calls it."""
    return re.sub(r"[^A-Z0-9]", "_", f"PEFT_STUDIO_{connector}_{field}".upper())


class Sources:
    """The sources of one connector's fields.

    `owner` is the distribution that has the connector's name now. `stores` are asked in their order, by default the
    encrypted file and the keyring. What keeps a source from answering is collected in `complaints`.
    """

    def __init__(
        self,
        manifest: Manifest,
        owner: str | None,
        *,
        given: Mapping[str, Secret] = {},
        vault: Vault | None = None,
        stores: Sequence[Store] | None = None,
    ) -> None:
        self.connector = manifest.name
        self.complaints: list[PeftStudioError] = []
        self._manifest = manifest
        self._owner = owner
        self._given = given
        self._vault = vault
        self._stores = stores
        self._entries: list[tuple[Store, Entry]] = []
        self._unasked: Iterator[tuple[Store, Entry]] = self._stored()
        self._variables = {field.key: [field.env, own_variable(manifest.name, field.key)] for field in manifest.fields}
        self._credentials = {field.key for field in manifest.credentials}

    def of(self, field: str) -> Iterator[Answer]:
        """Everybody who knows the field, the strongest first; whoever takes only the first asks nobody else."""
        if field in self._given:
            yield Found(field, Source.ARGUMENT), self._given[field]
        yield from self.of_environment(field)
        if field in self._credentials:
            yield from self._from_vault(field)
            yield from self._from_stores(field)
            yield from self._from_login_file(field)

    def of_environment(self, field: str) -> Iterator[Answer]:
        """The variables that hold the field."""
        for variable in self._variables.get(field, ()):
            if variable and (value := os.environ.get(variable)):
                yield Found(field, Source.ENVIRONMENT, variable), Secret(value)

    def _from_vault(self, field: str) -> Iterator[Answer]:
        answer = self._vault(field) if self._vault is not None else None
        if answer is not None:
            plugin, value = answer
            yield Found(field, Source.VAULT, plugin), Secret(value)

    def _from_stores(self, field: str) -> Iterator[Answer]:
        for store, entry in self._each_entry():
            if field in entry.fields:
                yield Found(field, store.source, store.detail), entry.fields[field]

    def _each_entry(self) -> Iterator[tuple[Store, Entry]]:
        """Those that are known, then those of the stores that have not been asked for another field."""
        yield from self._entries
        for found in self._unasked:
            self._entries.append(found)
            yield found

    def _stored(self) -> Iterator[tuple[Store, Entry]]:
        """The entries that may be used; each store is asked once."""
        for store in default_stores() if self._stores is None else self._stores:
            try:
                entry = store.get(self.connector)
            except StoreUnusable as error:
                self.complaints.append(error)
                continue
            if entry is not None and entry.belongs_to(self._owner):
                yield store, entry
            elif entry is not None:
                self.complaints.append(self._for_another(store, entry))

    def _from_login_file(self, field: str) -> Iterator[Answer]:
        if self._manifest.login_file is None:
            return
        from peft_studio.credentials.login_file import LoginFileUnusable, PlatformLogin

        login = PlatformLogin(self._manifest.login_file)
        try:
            value = login.get(field)
        except LoginFileUnusable as error:
            self.complaints.append(error)
            return
        if value is not None:
            yield Found(field, Source.LOGIN_FILE, str(login.path)), Secret(value)

    def _for_another(self, store: Store, entry: Entry) -> StoreUnusable:
        return StoreUnusable(
            f"what the {store.source} holds for {self.connector} was given to {entry.distribution}",
            why=f"the name belongs to {self._owner or 'no distribution'} now",
            remedy=f"to agree, log in again: peft-studio auth login {self.connector}",
        )


def default_stores() -> list[Store]:
    """The encrypted file, whose lack of an entry is known for nothing, and the keyring, which may open a dialogue."""
    from peft_studio.credentials.encrypted_file import EncryptedFile
    from peft_studio.credentials.keyring_store import KeyringStore

    return [EncryptedFile(), KeyringStore()]

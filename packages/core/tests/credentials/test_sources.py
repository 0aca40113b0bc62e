"""Each field from the strongest source that has it; whom a stored one belongs to; what is said when nobody has it."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from peft_studio import ConnectorManager, ConnectorRegistry, InvalidConfig, InvalidCredentials
from peft_studio.credentials import Found, Source, Sources, gather, require
from peft_studio.credentials.gathering import is_secret
from peft_studio.credentials.sources import own_variable
from peft_studio.credentials.status import status_of
from peft_studio.credentials.stores import Entry, NoStore, StoreUnusable
from peft_studio.manifest import Credential, LoginFile, Manifest, Setting
from peft_studio.redaction import mask
from peft_studio.secret import Secret

OWNER = "peft-studio-acme"


@define
class Shelf:
    """A store in memory, which says when it was asked."""

    entries: dict[str, Entry] = field(factory=dict)
    error: StoreUnusable | None = None
    source: Source = Source.KEYRING
    detail: str = "shelf"
    asked: int = 0

    def open(self) -> None:
        """It is."""

    def get(self, connector: str) -> Entry | None:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.entries.get(connector)

    def put(self, connector: str, entry: Entry) -> None:
        self.entries[connector] = entry

    def remove(self, connector: str) -> bool:
        return self.entries.pop(connector, None) is not None


def manifest(**changes: Any) -> Manifest:
    """A connector with a key, a user and a region."""
    values: dict[str, Any] = {
        "name": "acme-cloud",
        "display_name": "Acme",
        "description": "Runs jobs",
        "credentials": (
            Credential(key="api_key", env="ACME_API_KEY"),
            Credential(key="user", required=False, secret=False),
        ),
        "settings": (Setting(key="region", env="ACME_REGION"),),
    }
    return Manifest(**(values | changes))


@pytest.fixture
def all_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Manifest, dict[str, Any]]:
    """A manifest, and everybody who can know its api_key."""
    token = tmp_path / "token"
    token.write_text("of the login file\n")
    monkeypatch.setenv("ACME_API_KEY", "of the variable")
    monkeypatch.setenv("PEFT_STUDIO_ACME_CLOUD_API_KEY", "of our variable")
    entry = Entry(OWNER, {"api_key": Secret("of the shelf")})
    return (
        manifest(login_file=LoginFile(path=(str(token),), format="text", keys={"api_key": "."})),
        {
            "given": {"api_key": Secret("of the argument")},
            "vault": lambda field: ("vault 1.0", f"{field} of the vault"),
            "stores": [Shelf({"acme-cloud": entry})],
        },
    )


def test_sources_are_asked_in_their_order(all_sources: Any, tmp_path: Path) -> None:
    """Argument, the platform's variable, ours, vault, stores, login file; each says where it is, never the value."""
    described, sources = all_sources
    answers = list(Sources(described, OWNER, **sources).of("api_key"))

    assert [
        Found("api_key", Source.ARGUMENT),
        Found("api_key", Source.ENVIRONMENT, "ACME_API_KEY"),
        Found("api_key", Source.ENVIRONMENT, "PEFT_STUDIO_ACME_CLOUD_API_KEY"),
        Found("api_key", Source.VAULT, "vault 1.0"),
        Found("api_key", Source.KEYRING, "shelf"),
        Found("api_key", Source.LOGIN_FILE, str(tmp_path / "token")),
    ] == [found for found, _ in answers]
    assert [
        "of the argument", "of the variable", "of our variable", "api_key of the vault", "of the shelf",
        "of the login file",
    ] == [secret.reveal() for _, secret in answers]  # fmt: skip


def test_a_strong_source_keeps_the_weak_from_being_asked() -> None:
    """A keyring may open a dialogue: nobody wants one for a key that is in the environment."""
    shelf, vaults = Shelf(), []
    sources = Sources(manifest(), OWNER, given={"api_key": Secret("x")}, vault=vaults.append, stores=[shelf])

    assert Source.ARGUMENT is next(sources.of("api_key"))[0].source
    assert ([], 0) == (vaults, shelf.asked)
    assert [] == list(sources.of("region")), "a setting is in no vault and in no store"
    assert ([], 0) == (vaults, shelf.asked)
    assert [] == list(sources.of("user"))
    assert 1 == shelf.asked
    list(sources.of("api_key"))
    assert 1 == shelf.asked, "one question for all fields"


def test_the_first_store_with_an_entry_is_enough() -> None:
    """The one behind it is not opened."""
    first = Shelf({"acme-cloud": Entry(OWNER, {"api_key": Secret("x"), "user": Secret("me")})})
    second = Shelf()
    sources = Sources(manifest(), OWNER, stores=[first, second])

    assert [next(sources.of(key))[1].reveal() for key in ("api_key", "user")] == ["x", "me"]
    assert (1, 0) == (first.asked, second.asked)


@pytest.mark.parametrize(
    ("connector", "key", "variable"),
    [
        ("acme", "api_key", "PEFT_STUDIO_ACME_API_KEY"),
        ("acme-cloud", "api-key", "PEFT_STUDIO_ACME_CLOUD_API_KEY"),
        ("a.b", "token id", "PEFT_STUDIO_A_B_TOKEN_ID"),
    ],
)
def test_the_variable_that_every_field_has(connector: str, key: str, variable: str) -> None:
    """Upper case; whatever a shell cannot have in a name becomes an underscore."""
    assert variable == own_variable(connector, key)


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As everywhere."""
    monkeypatch.setenv("ACME_API_KEY", "")

    assert [] == list(Sources(manifest(), OWNER, stores=[]).of("api_key"))


# Whose it is.


@pytest.mark.parametrize(
    ("owner", "is_handed_over"),
    [(OWNER, True), ("Peft_Studio.Acme", True), ("peft-studio-other", False), (None, False)],
)
def test_a_stored_secret_belongs_to_a_distribution(owner: str | None, is_handed_over: bool) -> None:
    """Names are compared as installers do; whoever else has the connector's name now gets nothing."""
    shelf = Shelf({"acme-cloud": Entry(OWNER, {"api_key": Secret("x")})})
    sources = Sources(manifest(), owner, stores=[shelf])

    assert is_handed_over == bool(list(sources.of("api_key")))
    assert is_handed_over == (sources.complaints == [])


def test_the_error_says_whose_it_was_and_how_to_agree() -> None:
    """In one sentence, where the key is missed."""
    shelf = Shelf({"acme-cloud": Entry(OWNER, {"api_key": Secret("x")})})
    sources = Sources(manifest(), "peft-studio-other", stores=[shelf])
    list(sources.of("api_key"))
    (complaint,) = sources.complaints

    assert (
        f"what the keyring holds for acme-cloud was given to {OWNER}: the name belongs to peft-studio-other now"
    ) == str(complaint)
    assert "to agree, log in again: peft-studio auth login acme-cloud" == complaint.remedy


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"distribution": "x"}', '{"distribution": "x", "fields": {"a": 5}}'])
def test_an_entry_that_somebody_else_wrote_is_refused(text: str) -> None:
    """Its text is not repeated."""
    with pytest.raises(StoreUnusable, match="was not written by peft-studio") as caught:
        Entry.from_json(text or "sk-canary", "the entry")
    assert "sk-canary" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_entry_comes_back_as_it_was() -> None:
    """With the distribution in the same text: there is no second place that could differ."""
    entry = Entry(OWNER, {"api_key": Secret('a"ü\n')})

    assert entry == Entry.from_json(entry.to_json(), "the entry")


# What is missing.


def missed(*complaints: StoreUnusable, **changes: Any) -> InvalidCredentials:
    """The error when nothing was found, and stores said so."""
    described = manifest(**changes)
    shelves = [Shelf(error=complaint) for complaint in complaints]
    sources = Sources(described, OWNER, stores=shelves)
    list(sources.of("api_key"))
    gathered = gather(None, OWNER, {})
    gathered = type(gathered)(values={}, complaints=tuple(sources.complaints))
    with pytest.raises(InvalidCredentials) as caught:
        require("acme-cloud", [], gathered, described)
    return caught.value


def test_a_missing_field_is_told_with_the_ways_to_give_it() -> None:
    """Variable and login; a machine without a keyring is nothing to complain of."""
    error = missed(NoStore("there is none"))

    assert "acme-cloud needs api_key" == str(error)
    assert "set ACME_API_KEY, or log in: peft-studio auth login acme-cloud" == error.remedy


def test_a_store_that_is_locked_is_part_of_the_sentence() -> None:
    """It may well have the field."""
    assert "acme-cloud needs api_key: the file is locked" == str(missed(StoreUnusable("the file is locked")))


# The manager.


async def test_the_manager_hands_over_plain_texts_and_keeps_secrets(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`connect` gets str, as the interface says; whatever core itself keeps shows nothing."""
    seen = "    async def connect(self, credentials):\n        Connector.seen = dict(credentials); return True\n"
    site.add(
        changes={"credentials": [{"key": "api_key", "env": "ACME_API_KEY"}], "settings": [{"key": "region"}]},
        swap={"    async def connect(self, credentials): return True\n": seen},
    )
    monkeypatch.setenv("ACME_API_KEY", "sk-canary-1")
    monkeypatch.setenv("PEFT_STUDIO_ACME_REGION", "eu-west")
    manager = ConnectorManager(ConnectorRegistry([site.root]), ledger=False, credentials={"acme": {"team": "blue"}})
    await manager.connect("acme")

    given = type(manager.get_connector("acme")).seen  # type: ignore[attr-defined]
    assert {"api_key": "sk-canary-1", "region": "eu-west", "team": "blue"} == given
    assert {str} == {type(value) for value in given.values()}
    kept = repr((vars(manager), [vars(session) for session in manager._sessions.values()]))
    assert "sk-canary-1" not in kept
    assert "*** eu-west" == mask("sk-canary-1 eu-west")


async def test_a_closed_connection_keeps_its_secrets_masked(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks that it left behind may still log; once the manager is gone, nothing is kept of them."""
    site.add(changes={"credentials": [{"key": "api_key", "env": "ACME_API_KEY"}]})
    monkeypatch.setenv("ACME_API_KEY", "sk-canary-2")
    manager = ConnectorManager(ConnectorRegistry([site.root]), ledger=False)
    await manager.connect("acme")
    await manager.disconnect("acme")
    await asyncio.sleep(0)  # the event loop holds the last answer that it gave
    gc.collect()
    assert "***" == mask("sk-canary-2")
    del manager
    gc.collect()
    assert "sk-canary-2" == mask("sk-canary-2")


@pytest.mark.parametrize(
    ("credentials", "sentence"),
    [
        ("sk-canary", 'credentials["acme"] must be a dictionary such as {"api_key": ...}, not str'),
        ({"api_key": 12345}, 'credentials["acme"]["api_key"] must be a text, not int'),
        ({"api_key": None}, 'credentials["acme"]["api_key"] must be a text, not NoneType'),
    ],
)
async def test_credentials_of_another_shape_are_refused(site: Any, credentials: Any, sentence: str) -> None:
    """In the constructor and in `connect`, with the place and without the value."""
    site.add()
    registry = ConnectorRegistry([site.root])
    with pytest.raises(InvalidConfig) as caught:
        ConnectorManager(registry, ledger=False, credentials={"acme": credentials})
    assert sentence == str(caught.value)
    with pytest.raises(InvalidConfig) as caught:
        await ConnectorManager(registry, ledger=False).connect("acme", credentials)
    assert sentence == str(caught.value)


async def test_a_secret_may_be_given_as_one(site: Any) -> None:
    """A program that keeps `Secret`s need not reveal them."""
    site.add(changes={"credentials": [{"key": "api_key"}]})
    manager = ConnectorManager(ConnectorRegistry([site.root]), ledger=False)
    key: Any = Secret("sk-canary-1")

    assert await manager.connect("acme", {"api_key": key})
    assert manager._sessions["acme"].was_opened_with({"api_key": Secret("sk-canary-1")})


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("api_key", "x", True),
        ("user", "me", False),
        ("region", "eu", False),
        ("base_url", "http://127.0.0.1:80", False),
        ("base_url", "https://me:key@host", True),
        ("other", "x", True),
    ],
)
def test_what_is_a_secret(key: str, value: str, expected: bool) -> None:
    """What connector.json says; of what it does not know, everything but an address without a user."""
    assert expected == is_secret(manifest(), key, Secret(value))


def test_status_says_who_has_it_and_whom_that_hides(all_sources: Any) -> None:
    """Without the argument, which no command has; a required field that nobody has is missing."""
    described, sources = all_sources
    api_key, user = status_of(described, OWNER, vault=None, stores=sources["stores"]).fields

    assert Found("api_key", Source.ENVIRONMENT, "ACME_API_KEY") == api_key.found
    assert [Source.ENVIRONMENT, Source.KEYRING, Source.LOGIN_FILE] == [found.source for found in api_key.hidden]
    assert (None, (), False) == (user.found, user.hidden, user.is_missing)
    (missing, _) = status_of(
        manifest(name="other", credentials=(Credential(key="k"), *described.credentials)), OWNER, stores=[]
    ).fields[:2]
    assert missing.is_missing

"""Storing for real: a keyring service on a private bus, and an encrypted file; each from processes of their own."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from keyrings.cryptfile.cryptfile import CryptFileKeyring

from peft_studio.credentials.encrypted_file import EncryptedFile
from peft_studio.credentials.stores import Entry, StoreUnusable
from peft_studio.secret import Secret

KEY = "sk-canary-0123456789"
PASSPHRASE = "a passphrase that is long enough"
KEYRING = "SecretService Keyring"

Studio = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def acme(site: Any) -> Any:
    """A connector that accepts every key but one that begins with "bad"."""
    checks = (
        "    async def connect(self, credentials):\n"
        "        if credentials['api_key'].startswith('bad'): raise ValueError(credentials['api_key'] + ' is bad')\n"
        "        return True\n"
    )
    fields = [
        {"key": "api_key", "display_name": "API key", "description": "from acme.example/keys", "env": "ACME_API_KEY"},
        {"key": "team", "required": False, "secret": False},
    ]
    return site.add(
        changes={"credentials": fields}, swap={"    async def connect(self, credentials): return True\n": checks}
    )


def given(studio: Studio, text: str, *arguments: str, code: int = 0, **environment: str) -> Any:
    """A command that reads `text` from stdin."""
    return studio(*arguments, code=code, input=text, **environment)


def sources(studio: Studio, *names: str, code: int = 0, **environment: str) -> list[tuple[str, str | None, list[str]]]:
    """Field, source and hidden sources, as `auth status --json` tells them."""
    told = json.loads(studio("auth", "status", *names, "--json", code=code, **environment).stdout)
    return [(row["field"], row["source"], [each["source"] for each in row["hidden"]]) for row in told["fields"]]


# The keyring.


def test_a_key_is_stored_used_and_removed(studio: Studio, acme: Any, keyring_service: dict[str, str]) -> None:
    """In the keyring of the system, from three processes; nothing of it is in a file or shown."""
    stored = given(studio, f"{KEY}\n", "auth", "login", "acme", "--stdin", **keyring_service)
    assert f"stored api_key of acme in the keyring ({KEYRING})\n" == stored.stdout
    assert [("api_key", "keyring", []), ("team", None, [])] == sources(studio, "acme", **keyring_service)
    hiding = sources(studio, "acme", ACME_API_KEY="other", **keyring_service)
    assert ("api_key", "environment", ["keyring"]) == hiding[0]
    shown = studio("auth", "status", ACME_API_KEY="other", **keyring_service)
    assert f"environment  ACME_API_KEY (hides the keyring ({KEYRING}))" in shown.stdout

    removed = studio("auth", "logout", "acme", ACME_API_KEY="other", **keyring_service)
    assert f"removed acme from the keyring ({KEYRING})\n" == removed.stdout
    assert "still there: api_key in the environment (ACME_API_KEY); unset it\n" == removed.stderr
    assert ("api_key", None, []) == sources(studio, "acme", code=4, **keyring_service)[0]
    assert "nothing was stored for acme\n" == studio("auth", "logout", "acme", **keyring_service).stdout


def test_a_stored_key_reaches_the_connector(
    studio: Studio, acme: Any, site: Any, keyring_service: dict[str, str], home: Path
) -> None:
    """Through the library, in a program of its own, which sees the text in `connect` and nowhere else."""
    given(studio, KEY, "auth", "login", "acme", "--stdin", **keyring_service)
    program = (
        "import asyncio, sys\n"
        "from peft_studio import ConnectorManager\n"
        "async def main():\n"
        "    async with ConnectorManager(ledger=False) as manager:\n"
        "        await manager.connect('acme')\n"
        "        print(manager._gathered, manager._sessions['acme']._credentials['api_key'].reveal() == sys.argv[1])\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, KEY], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(site.root), **keyring_service},
    )  # fmt: skip

    assert ("{'acme': {'api_key': Secret('***')}} True\n", "") == (done.stdout, done.stderr)


def test_another_owner_of_the_name_gets_nothing(
    studio: Studio, acme: Any, site: Any, keyring_service: dict[str, str], home: Path
) -> None:
    """Until the user logs in again; the sentence says whose it was."""
    given(studio, KEY, "auth", "login", "acme", "--stdin", **keyring_service)
    fields = [{"key": "api_key"}]
    site.add(distribution="peft-studio-evil", changes={"credentials": fields})
    evil = {"PEFT_STUDIO_PLUGINS_DENY": "peft-studio-acme", **keyring_service}
    assert [("api_key", None, [])] == sources(studio, "acme", code=4, **evil)
    told = studio("auth", "status", "acme", code=4, **evil).stderr
    assert "was given to peft-studio-acme: the name belongs to peft-studio-evil now" in told
    assert "peft-studio auth login acme" in told
    refused = studio("run", _config(home), "--on", "acme", code=4, **evil)
    assert "needs api_key: what the keyring holds for acme was given to peft-studio-acme" in refused.stderr

    given(studio, KEY, "auth", "login", "acme", "--stdin", **evil)
    assert [("api_key", "keyring", [])] == sources(studio, "acme", **evil)
    mine = {"PEFT_STUDIO_PLUGINS_DENY": "peft-studio-evil", **keyring_service}
    assert ("api_key", None, []) == sources(studio, "acme", code=4, **mine)[0]
    studio("auth", "logout", "acme", **mine)


def test_what_belongs_to_a_connector_that_is_gone_is_removed(
    studio: Studio, acme: Any, keyring_service: dict[str, str], tmp_path: Path
) -> None:
    """Uninstalling does not lock the door; a name that never was is told so."""
    given(studio, KEY, "auth", "login", "acme", "--stdin", **keyring_service)
    gone = {**keyring_service, "PYTHONPATH": str(tmp_path)}
    assert f"removed acme from the keyring ({KEYRING})\n" == studio("auth", "logout", "acme", **gone).stdout
    assert "there is no connector 'acme'" in studio("auth", "logout", "acme", code=9, **gone).stderr


def test_a_key_that_the_platform_refuses_is_not_stored(
    studio: Studio, acme: Any, keyring_service: dict[str, str]
) -> None:
    """Nor repeated, whatever the connector says; with --no-verify nobody is asked."""
    refused = given(studio, "bad-canary", "auth", "login", "acme", "--stdin", code=4, **keyring_service)
    assert "the platform refused the credentials: *** is bad\n  try: nothing was stored\n" in refused.stderr
    assert ("api_key", None, []) == sources(studio, "acme", code=4, **keyring_service)[0]
    given(studio, "bad-canary", "auth", "login", "acme", "--stdin", "--no-verify", **keyring_service)
    assert ("api_key", "keyring", []) == sources(studio, "acme", **keyring_service)[0]
    studio("auth", "logout", "acme", **keyring_service)


def test_what_shadows_the_stored_key_is_told_at_once(
    studio: Studio, acme: Any, keyring_service: dict[str, str]
) -> None:
    """Otherwise one would wonder why the new key changes nothing."""
    stored = given(studio, KEY, "auth", "login", "acme", "--stdin", ACME_API_KEY="old", **keyring_service)
    assert "note: api_key is taken from the environment (ACME_API_KEY), which goes first\n" == stored.stderr
    studio("auth", "logout", "acme", **keyring_service)


# Without one.


def test_a_server_without_a_keyring_is_told_its_choices(studio: Studio, acme: Any, no_keyring: dict[str, str]) -> None:
    """One sentence, and nothing was asked for in vain."""
    told = given(studio, KEY, "auth", "login", "acme", "--stdin", code=1, **no_keyring).stderr

    assert 1 == told.count("Error: ")
    assert "Traceback" not in told
    for way in ("environment variable", "plugin that asks your vault", "--encrypted-file"):
        assert way in told


def test_without_a_keyring_everything_else_works(studio: Studio, acme: Any, no_keyring: dict[str, str]) -> None:
    """Status and logout need none; nor does a connector whose key is in the environment."""
    assert ("api_key", "environment", []) == sources(studio, "acme", ACME_API_KEY=KEY, **no_keyring)[0]
    assert ("api_key", None, []) == sources(studio, "acme", code=4, **no_keyring)[0]
    assert "nothing was stored for acme\n" == studio("auth", "logout", "acme", **no_keyring).stdout


@pytest.mark.parametrize(
    ("backend", "sentence"),
    [
        ("keyring.backends.null.Keyring", "the keyring (null Keyring) keeps nothing"),
        ("no.such.Keyring", "the keyring cannot be used: No module named 'no'"),
        ("keyring.backends.fail.Keyring", "the keyring cannot be used: No recommended backend was available"),
    ],
)
def test_a_keyring_that_does_not_keep_is_told(studio: Studio, acme: Any, backend: str, sentence: str) -> None:
    """Also one that says nothing of it."""
    told = given(studio, KEY, "auth", "login", "acme", "--stdin", code=1, PYTHON_KEYRING_BACKEND=backend)

    assert f"Error: {sentence}" in told.stderr
    assert "nothing was stored" not in told.stdout + told.stderr


def test_a_library_that_is_not_installed_is_named(studio: Studio, acme: Any, site: Any) -> None:
    """With what installs it; who needs no keyring does not hear of it."""
    (site.root / "keyring.py").write_text("raise ModuleNotFoundError('keyring')")
    told = given(studio, KEY, "auth", "login", "acme", "--stdin", code=1).stderr
    assert told.startswith(
        "Error: the keyring library is not installed\n  try: pip install 'peft-studio[keyring]'; or else set"
    )
    assert "peft-studio auth login NAME --encrypted-file" in " ".join(told.split())
    assert "" == studio("auth", "status", "acme", ACME_API_KEY=KEY).stderr


def test_a_file_is_never_taken_for_the_keyring(
    studio: Studio, acme: Any, no_keyring: dict[str, str], home: Path
) -> None:
    """Though its package offers it to the library; only a user who names it in the library's settings gets it."""
    told = given(studio, KEY, "auth", "login", "acme", "--stdin", code=1, **no_keyring, XDG_DATA_HOME=str(home))

    assert "there is no keyring of the operating system here" in told.stderr
    assert [] == list(home.rglob("*.cfg"))


@pytest.mark.parametrize(
    "command", [["--help"], ["connectors", "list"], ["auth", "--help"], ["auth", "login", "--help"]]
)
def test_no_keyring_is_asked_without_need(studio: Studio, acme: Any, site: Any, command: list[str]) -> None:
    """It is not even imported."""
    (site.root / "keyring.py").write_text("import os; os._exit(99)")

    studio(*command)


# The encrypted file.


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EncryptedFile:
    """A new one, and its passphrase in the environment; in this process a guess costs an attacker little, and us."""
    monkeypatch.setenv("PEFT_STUDIO_PASSPHRASE", PASSPHRASE)
    monkeypatch.setattr(CryptFileKeyring, "time_cost", 1)
    return EncryptedFile(tmp_path / "credentials" / "credentials.cfg")


ENTRY = Entry("peft-studio-acme", {"api_key": Secret(KEY)})


def test_the_file_is_encrypted_and_nobody_elses(file: EncryptedFile) -> None:
    """Neither the key, in any form, nor the distribution can be read; modes are 0600 and 0700."""
    file.path.parent.mkdir(mode=0o755)
    file.put("acme", ENTRY)
    content = file.path.read_text()

    assert ENTRY == EncryptedFile(file.path).get("acme")
    assert [] == [each for each in (KEY, "peft-studio-acme", PASSPHRASE, KEY.encode().hex()) if each in content]
    assert (0o600, 0o700) == tuple(stat.S_IMODE(path.stat().st_mode) for path in (file.path, file.path.parent))
    assert [file.path] == list(file.path.parent.iterdir())


def test_a_wrong_passphrase_opens_and_changes_nothing(file: EncryptedFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file, one passphrase."""
    file.put("acme", ENTRY)
    before = file.path.read_bytes()
    monkeypatch.setenv("PEFT_STUDIO_PASSPHRASE", "another")
    other = EncryptedFile(file.path)
    for attempt in (lambda: other.get("acme"), lambda: other.put("other", ENTRY), other.open):
        with pytest.raises(StoreUnusable, match=r"the passphrase does not open .*credentials.cfg: it is another one"):
            attempt()

    assert before == file.path.read_bytes()
    assert [file.path] == list(file.path.parent.iterdir())


def test_a_changed_byte_is_noticed(file: EncryptedFile) -> None:
    """The cipher is authenticated: an entry put under another name is noticed too."""
    file.put("acme", ENTRY)
    file.put("other", ENTRY)
    text = file.path.read_text()
    blocks = text.split("acme =")
    file.path.write_text(text.replace("acme =", "swap =").replace("other =", "acme =").replace("swap =", "other ="))
    assert 2 == len(blocks)
    with pytest.raises(StoreUnusable, match=r"the entry acme in .* was changed"):
        EncryptedFile(file.path).get("acme")


def test_whether_there_is_an_entry_is_known_without_the_passphrase(
    file: EncryptedFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So nobody is asked for it in vain, and logging out needs none; the last entry takes the file with it."""
    file.put("acme", ENTRY)
    file.put("other-cloud_2", ENTRY)
    monkeypatch.delenv("PEFT_STUDIO_PASSPHRASE")
    locked = EncryptedFile(file.path)
    assert locked.get("third") is None
    assert (True, False) == (locked.remove("acme"), locked.remove("acme"))
    with pytest.raises(StoreUnusable, match="is locked") as caught:
        locked.get("other-cloud_2")
    assert "set PEFT_STUDIO_PASSPHRASE" == caught.value.remedy
    assert locked.remove("other-cloud_2")
    assert [] == list(file.path.parent.iterdir())


@pytest.mark.parametrize("content", [b"\xff\xfe", b"no ini at all", b"[peft_2Dstudio]\nacme = bm8=\n"])
def test_a_file_of_something_else_is_left_alone(file: EncryptedFile, content: bytes) -> None:
    """With a sentence."""
    file.path.parent.mkdir()
    file.path.write_bytes(content)
    for attempt in (lambda: file.get("acme"), lambda: file.put("acme", ENTRY), lambda: file.remove("acme")):
        with pytest.raises(StoreUnusable, match=r"credentials.cfg is no file of credentials$"):
            attempt()
    assert content == file.path.read_bytes()


def test_logins_at_the_same_moment_are_all_kept(file: EncryptedFile) -> None:
    """Each waits for the one before it, from whatever process."""
    program = (
        "import sys; from pathlib import Path\n"
        "from peft_studio.credentials.encrypted_file import EncryptedFile\n"
        "from peft_studio.credentials.stores import Entry\n"
        "from peft_studio.secret import Secret\n"
        "EncryptedFile(Path(sys.argv[1])).put(sys.argv[2], Entry('d', {'api_key': Secret('x')}))\n"
    )
    names = ["one", "two", "three"]
    started = [subprocess.Popen([sys.executable, "-c", program, str(file.path), name]) for name in names]

    assert [0, 0, 0] == [process.wait() for process in started]
    assert [True] * 3 == [EncryptedFile(file.path).remove(name) for name in names]


def test_where_nothing_can_be_written_is_told(file: EncryptedFile) -> None:
    """By its name and the system's words."""
    with pytest.raises(StoreUnusable, match=r"/proc/nowhere/c\.cfg cannot be written"):
        EncryptedFile(Path("/proc/nowhere/c.cfg")).put("acme", ENTRY)


def test_the_command_line_with_an_encrypted_file(
    studio: Studio, acme: Any, no_keyring: dict[str, str], home: Path
) -> None:
    """Login, use, status and logout on a server; the keyring is not asked for what the file has."""
    unlocked = {**no_keyring, "PEFT_STUDIO_PASSPHRASE": PASSPHRASE}
    stored = given(studio, KEY, "auth", "login", "acme", "--stdin", "--encrypted-file", **unlocked)
    place = home / "data" / "credentials" / "credentials.cfg"
    assert f"stored api_key of acme in the encrypted file ({place})\n" == stored.stdout
    assert ("api_key", "encrypted file", []) == sources(studio, "acme", **unlocked)[0]
    studio("run", _config(home), "--on", "acme", "--dry-run", **unlocked)
    locked = studio("run", _config(home), "--on", "acme", "--dry-run", code=4, **no_keyring)
    assert f"acme (peft-studio-acme 1.0.0) needs api_key: {place} is locked\n" in locked.stderr
    assert KEY not in "".join(path.read_text(errors="replace") for path in home.rglob("*") if path.is_file())
    assert f"removed acme from the encrypted file ({place})\n" == studio("auth", "logout", "acme", **no_keyring).stdout
    assert not place.exists()


def _config(home: Path) -> Path:
    (home.parent / "data.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    config = home.parent / "job.json"
    config.write_text(json.dumps({"base_model": "org/model", "dataset_path": "data.jsonl"}))
    return config

"""`peft-studio auth` as a person and a program type it, with a platform that looks at the key."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pexpect
import pytest

ACME = Path(__file__).parent / "acme" / "peft_studio_acme"
PASSPHRASE = "a passphrase that is long enough"


@pytest.fixture
def studio(studio: Any, tmp_path: Path) -> Any:
    """The command line where acme is installed, on a machine without a keyring."""
    site = tmp_path / "site"
    shutil.copytree(ACME, site / "peft_studio_acme", ignore=shutil.ignore_patterns("__pycache__"))
    metadata = site / "peft_studio_acme-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: peft-studio-acme\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[peft_studio.connectors]\nacme = peft_studio_acme.plugin\n"
        "[peft_studio.sandboxes]\nacme = peft_studio_acme.sandbox:AcmeSandbox\n"
    )
    studio.environment |= {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")])),
        "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere",
        "XDG_RUNTIME_DIR": "/nowhere",
    }
    return studio


@pytest.fixture
def key(studio: Any) -> str:
    """The key of an account at the platform, which runs on this machine."""
    process = studio.start("sandbox", "start", "acme", "--json")
    lines = iter(process.stdout.readline, "}\n")
    guide = json.loads("".join(lines) + "}")
    studio.environment["ACME_BASE_URL"] = guide["url"]
    return str(guide["credentials"]["api_key"])


class Person:
    """Somebody at a terminal."""

    def __init__(self, studio: Any, *arguments: str) -> None:
        self._terminal = pexpect.spawn(
            str(studio.program), list(arguments), env=studio._environment(), cwd=str(studio.home), encoding="utf-8",
            timeout=60, dimensions=(24, 250),
        )  # fmt: skip

    def answers(self, question: str, answer: str, *, is_shown: bool = False) -> None:
        """Wait for a question and type the answer, which is echoed or is not."""
        self._terminal.expect_exact(question)
        if not is_shown:
            assert self._terminal.waitnoecho(timeout=60)
        self._terminal.sendline(answer)

    def reads(self) -> tuple[int | None, str]:
        """Exit code, and the screen since the last question."""
        screen = self._terminal.read()
        self._terminal.close()
        return self._terminal.exitstatus, screen.replace("\r\n", "\n")


def piped(studio: Any, text: str, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    """A command that reads `text` from a pipe."""
    done = subprocess.run(
        [str(studio.program), *arguments], input=text, capture_output=True, text=True, check=False,
        env=studio._environment(), cwd=studio.home,
    )  # fmt: skip
    assert code == done.returncode, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def test_a_person_logs_in_on_a_server(studio: Any, key: str, write_config: Any) -> None:
    """Passphrase and key are asked for without echo and tried; jobs find the key, and ask for the passphrase."""
    person = Person(studio, "auth", "login", "acme", "--encrypted-file")
    person.answers("credentials.cfg: ", PASSPHRASE)
    person.answers("Repeat for confirmation: ", PASSPHRASE)
    person.answers("API key: ", key)
    code, screen = person.reads()
    assert (0, True) == (code, "stored api_key of acme in the encrypted file" in screen)
    assert key not in screen
    assert PASSPHRASE not in screen

    person = Person(studio, "run", str(write_config()), "--on", "acme", "--dry-run")
    person.answers("credentials.cfg: ", PASSPHRASE)
    code, screen = person.reads()
    assert 0 == code, screen

    person = Person(studio, "run", str(write_config()), "--on", "acme", "--dry-run")
    person.answers("credentials.cfg: ", "something else")
    code, screen = person.reads()
    assert 4 == code, screen
    assert "needs api_key: the passphrase does not open" in screen


def test_a_wrong_key_is_not_stored(studio: Any, key: str) -> None:
    """The platform's word, and what became of it."""
    studio.environment["PEFT_STUDIO_PASSPHRASE"] = PASSPHRASE
    done = piped(studio, "no-canary", "auth", "login", "acme", "--stdin", "--encrypted-file", code=4)

    assert "nothing was stored" in done.stderr
    assert "no-canary" not in done.stdout + done.stderr
    assert not (studio.home / "data" / "credentials").exists()


def test_a_platform_that_is_out_of_reach_can_be_told_later(studio: Any, key: str) -> None:
    """The sentence names the way."""
    studio.environment |= {"PEFT_STUDIO_PASSPHRASE": PASSPHRASE, "ACME_BASE_URL": "http://127.0.0.1:9"}
    done = piped(studio, key, "auth", "login", "acme", "--stdin", "--encrypted-file", code=5)
    assert "nothing was stored; with --no-verify they are stored untried" in done.stderr

    piped(studio, key, "auth", "login", "acme", "--stdin", "--encrypted-file", "--no-verify")
    assert "encrypted file" == studio.json("auth", "status", "acme")["fields"][0]["source"]


def test_a_program_pipes_several_fields(studio: Any, key: str) -> None:
    """As JSON, by their names."""
    studio.environment["PEFT_STUDIO_PASSPHRASE"] = PASSPHRASE
    done = piped(studio, json.dumps({"api_key": key}), "auth", "login", "acme", "--stdin", "--encrypted-file")

    assert "stored api_key of acme" in done.stdout
    assert ["acme"] == [row["connector"] for row in studio.json("auth", "status", "acme")["fields"]]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "nothing came from stdin"),
        (" \n", "nothing came from stdin"),
        ('{"apikey": "sk-canary"}', "acme has no field 'apikey'\n  try: its fields: api_key"),
        ('{"api_key": "sk-canary"', "what came from stdin begins like JSON and is none"),
        ('{"api_key": ["sk-canary"]}', "api_key must be a text that is not empty"),
        ('{"api_key": " "}', "api_key must be a text that is not empty"),
        ("{}", "acme needs api_key too"),
    ],
)
def test_bad_input_is_told_in_a_sentence(studio: Any, text: str, sentence: str) -> None:
    """And not repeated."""
    studio.environment["PEFT_STUDIO_PASSPHRASE"] = PASSPHRASE
    done = piped(studio, text, "auth", "login", "acme", "--stdin", "--encrypted-file", code=3)

    assert f"Error: {sentence}\n" == done.stderr
    assert not (studio.home / "data" / "credentials").exists()


def test_a_name_that_cannot_be_logged_in_to_is_told(studio: Any) -> None:
    """Unknown, without credentials, kept out; and a terminal that is none."""
    assert "there is no connector 'acne'" in piped(studio, "x", "auth", "login", "acne", "--stdin", code=9).stderr
    assert "local needs no credentials" in piped(studio, "x", "auth", "login", "local", "--stdin", code=3).stderr
    assert "pipe the secret in, with --stdin" in piped(studio, "x", "auth", "login", "acme", code=2).stderr
    studio.environment["PEFT_STUDIO_PLUGINS_DENY"] = "acme"
    assert "Error: acme cannot be used: " in piped(studio, "x", "auth", "login", "acme", "--stdin", code=10).stderr


def test_names_are_completed(studio: Any) -> None:
    """In the shell, for each of the three commands."""
    for command in ("login", "status", "logout"):
        studio.environment |= {
            "_PEFT_STUDIO_COMPLETE": "bash_complete", "COMP_WORDS": f"peft-studio auth {command} ac", "COMP_CWORD": "3",
        }  # fmt: skip
        assert "plain,acme\n" == studio("--help").stdout

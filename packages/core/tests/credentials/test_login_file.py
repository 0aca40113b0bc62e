"""The login of a platform's own program: read where it is, in any of its formats, and never repeated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peft_studio.credentials.login_file import LoginFileUnusable, PlatformLogin
from peft_studio.manifest import LoginFile

KEY = "sk-canary-1"


def login(path: Any, format: str = "text", key: str = ".", env: str | None = None) -> PlatformLogin:
    """The description of a login file with one key."""
    paths = (str(path),) if isinstance(path, str | Path) else tuple(map(str, path))
    return PlatformLogin(LoginFile(path=paths, env=env, format=format, keys={"api_key": key}))


@pytest.mark.parametrize(
    ("format", "content", "key"),
    [
        ("text", f"{KEY}\n", "."),
        ("text", f"\ufeff{KEY}", "."),
        ("json", f'{{"default": {{"api_key": "{KEY}"}}}}', "default.api_key"),
        ("json", f'{{"api_key": "{KEY}"}}', "api_key"),
        ("json", f'{{"https://index.example/v1/": {{"auth": "{KEY}"}}}}', "https://index.example/v1/.auth"),
        ("toml", f"[default]\napi_key = '{KEY}'", "default.api_key"),
        ("toml", f"api_key = '{KEY}'", "api_key"),
        ("yaml", f"profiles:\n  default:\n    api_key: {KEY}", "profiles.default.api_key"),
        ("ini", f"[acme]\napi_key = {KEY}\n[acme]\nother = 5%x\n", "acme.api_key"),
        ("ini", f"api_key = {KEY}\n[other]\na = b", "api_key"),
        ("netrc", f"machine api.acme.example\n login user\n password {KEY}\n", "api.acme.example.password"),
        ("netrc", f"machine api.acme.example login {KEY} password x", "api.acme.example.login"),
    ],
)
def test_every_format_is_read(tmp_path: Path, format: str, content: str, key: str) -> None:
    """The value at the place that connector.json names; a field that it does not name is not there."""
    file = tmp_path / "login"
    file.write_text(content, encoding="utf-8")

    assert KEY == login(file, format, key).get("api_key")
    assert login(file, format, key).get("other") is None


@pytest.mark.parametrize(
    ("format", "content", "key"),
    [
        ("text", "\n", "."),
        ("json", '{"default": {"other": "x"}}', "default.api_key"),
        ("json", '{"default": "x"}', "default.api_key"),
        ("json", '{"api_key": null}', "api_key"),
        ("ini", "[other]\napi_key = x", "acme.api_key"),
        ("netrc", "default login user password x", "api.acme.example.password"),
    ],
)
def test_a_file_without_the_field_has_nothing(tmp_path: Path, format: str, content: str, key: str) -> None:
    """A netrc's default is for every host: it is not for one that is not named."""
    file = tmp_path / "login"
    file.write_text(content)

    assert login(file, format, key).get("api_key") is None


@pytest.mark.parametrize(
    ("format", "content", "sentence"),
    [
        ("json", f'{{"a": 1,\n"api_key": "{KEY}', "is not json: line 2"),
        ("json", f'"{KEY}"', "holds no names and values"),
        ("toml", f"a = 1\n{KEY}\n", "is not toml: line 2"),
        ("yaml", f"a: 1\nb: [{KEY}", "is not yaml: line 2"),
        ("ini", f"[a]\n{KEY}", "is not ini"),
        ("netrc", f"machine x login y password z\n{KEY} ", "is not netrc: line 2"),
        ("text", b"\xff\xfe" + KEY.encode(), "is not UTF-8"),
        ("text", KEY * 200_000, "is larger than a login file can be"),
        ("json", f'{{"api_key": ["{KEY}"]}}', "api_key is a list, not a text"),
        ("json", "[" * 100_000, "is not json"),
    ],
)
def test_what_cannot_be_read_is_told_without_its_words(
    tmp_path: Path, format: str, content: str | bytes, sentence: str
) -> None:
    """File and line; the words may be the secret."""
    file = tmp_path / "login"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LoginFileUnusable) as caught:
        login(file, format, "api_key" if format != "text" else ".").get("api_key")

    assert str(caught.value).startswith(f"{file}")
    assert sentence in str(caught.value)
    assert KEY not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"


def test_the_variable_moves_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There and nowhere else, whether or not there is one."""
    (tmp_path / "usual").write_text("usual")
    (tmp_path / "moved").write_text("moved")
    described = login(tmp_path / "usual", env="ACME_TOKEN_PATH")
    assert "usual" == described.get("api_key")
    monkeypatch.setenv("ACME_TOKEN_PATH", str(tmp_path / "moved"))
    assert "moved" == described.get("api_key")
    monkeypatch.setenv("ACME_TOKEN_PATH", str(tmp_path / "gone"))
    assert described.get("api_key") is None


def test_the_first_of_several_places_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One with a variable as soon as that is set; the others as soon as they are there; ~ is the user's home."""
    home = tmp_path / "home"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("ACME_HOME", raising=False)
    places = login(["$ACME_HOME/token", "~/.acme/token", tmp_path / "old"])
    assert places.path is None
    (tmp_path / "old").write_text("old")
    assert "old" == places.get("api_key")
    (home / ".acme").mkdir(parents=True)
    (home / ".acme" / "token").write_text("home")
    assert "home" == places.get("api_key")
    monkeypatch.setenv("ACME_HOME", str(tmp_path / "elsewhere"))
    assert tmp_path / "elsewhere" / "token" == places.path
    assert places.get("api_key") is None


def test_reading_changes_nothing(tmp_path: Path) -> None:
    """It is the platform's file."""
    file = tmp_path / "login"
    file.write_text(f"machine a login b password {KEY}")
    file.chmod(0o400)
    before = (file.stat().st_mtime_ns, file.stat().st_mode, sorted(tmp_path.iterdir()))
    login(file, "netrc", "a.password").get("api_key")

    assert before == (file.stat().st_mtime_ns, file.stat().st_mode, sorted(tmp_path.iterdir()))

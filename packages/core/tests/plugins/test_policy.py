"""Who may be imported, decided before any import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peft_studio.errors import BrokenConnector, InvalidConfig
from peft_studio.policy import Policy
from peft_studio.registry import ConnectorRegistry


def write_settings(home: Path, text: str) -> Path:
    """The user's settings.toml."""
    file = home / "config" / "settings.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def refusal(registry: ConnectorRegistry, name: str = "acme") -> BrokenConnector:
    """The error that activating gives."""
    with pytest.raises(BrokenConnector) as caught:
        registry.activate(name)
    return caught.value


def test_without_a_policy_everybody_may(site: Any) -> None:
    """No settings, no variables: installed means usable."""
    site.add("acme")

    assert "acme" == ConnectorRegistry([site.root]).activate("acme").name


@pytest.mark.parametrize("named", ["acme", "peft-studio-acme", "PEFT_Studio.acme", "other, acme"])
def test_a_denied_plugin_is_never_imported(named: str, site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own name or its distribution's; the record says so and the error says how to undo it."""
    site.add("acme")
    monkeypatch.setenv("PEFT_STUDIO_PLUGINS_DENY", named)
    registry = ConnectorRegistry([site.root])
    shown = named.rpartition(" ")[2]

    assert "disabled" == registry.describe("acme").state
    assert f"acme (peft-studio-acme 1.0.0): it cannot be used: {shown} is denied" == str(refusal(registry))
    assert (
        f"take {shown} out of PEFT_STUDIO_PLUGINS_DENY and of [plugins] deny in settings.toml"
        == refusal(registry).remedy
    )
    assert [f"{shown} is denied"] == [finding.message for finding in registry.check("acme")]
    assert [] == site.imported()


def test_an_allow_list_shuts_the_others_out(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only who is on it may be imported."""
    site.add("acme")
    site.add("good")
    monkeypatch.setenv("PEFT_STUDIO_PLUGINS", "good")
    registry = ConnectorRegistry([site.root])

    assert "good" == registry.activate("good").name
    assert "add acme to PEFT_STUDIO_PLUGINS" == refusal(registry).remedy


def test_none_shuts_everybody_out(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One switch turns third-party code off, also a plugin that calls itself none."""
    site.add("acme")
    site.add("none")
    monkeypatch.setenv("PEFT_STUDIO_PLUGINS", "none")

    assert ["disabled", "disabled"] == [str(record.state) for record in ConnectorRegistry([site.root]).list()]


def test_an_empty_variable_says_nothing(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`PEFT_STUDIO_PLUGINS= command` is how shells spell "unset"."""
    site.add("acme")
    monkeypatch.setenv("PEFT_STUDIO_PLUGINS", "")

    assert ["described"] == [str(record.state) for record in ConnectorRegistry([site.root]).list()]


def test_settings_count_and_the_environment_replaces_the_allow_list(
    site: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stronger source replaces a weaker allow list; a deny counts wherever it stands."""
    for name in ("one", "two", "three"):
        site.add(name)
    write_settings(home, '[plugins]\nallow = ["one"]\ndeny = ["three"]\n')
    before = {record.name: str(record.state) for record in ConnectorRegistry([site.root]).list()}
    monkeypatch.setenv("PEFT_STUDIO_PLUGINS", "two,three")
    after = {record.name: str(record.state) for record in ConnectorRegistry([site.root]).list()}

    assert {"one": "described", "two": "disabled", "three": "disabled"} == before
    assert {"one": "disabled", "two": "described", "three": "disabled"} == after


def test_arguments_are_strongest(site: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An embedding program decides for itself."""
    site.add("acme")
    write_settings(home, '[plugins.pin]\nacme = "written"\nother = "written"\n')
    monkeypatch.setenv("PEFT_STUDIO_PLUGINS", "none")
    pins = Policy.load(pin={"acme": "given"}).pin
    write_settings(home, "")

    assert "acme" == ConnectorRegistry([site.root], Policy.load(allow=["acme"])).activate("acme").name
    assert {"acme": "given", "other": "written"} == pins


def test_a_pin_settles_an_ambiguous_name(site: Any, home: Path) -> None:
    """The user names the distribution; the other one is never imported."""
    first = site.add("acme")
    second = site.add("acme", distribution="other-acme")
    write_settings(home, '[plugins.pin]\nacme = "Other.Acme"\n')
    registry = ConnectorRegistry([site.root])

    assert "other-acme" == registry.describe("acme").distribution
    assert second.package == registry.activate("acme").__module__.partition(".")[0]
    assert first.package not in site.imported()


def test_denying_one_claimant_settles_it_too(site: Any) -> None:
    """What may not be imported claims nothing."""
    site.add("acme")
    site.add("acme", distribution="other-acme")
    registry = ConnectorRegistry([site.root], Policy(deny=["other-acme"]))

    assert "peft-studio-acme" == registry.describe("acme").distribution


def test_a_pin_to_nobody_is_said(site: Any) -> None:
    """A pin protects a name also while its owner is not installed."""
    site.add("acme", distribution="other-acme")
    registry = ConnectorRegistry([site.root], Policy(pin={"acme": "peft-studio-acme"}))

    assert "broken" == registry.describe("acme").state
    assert (
        "acme: it cannot be used: the name acme is pinned to peft-studio-acme, but belongs to other-acme 1.0.0"
        == str(refusal(registry))
    )


def test_a_plugin_may_be_shipped_switched_off(site: Any) -> None:
    """`"enabled": false` waits for a user who names it."""
    site.add("acme", changes={"enabled": False})

    assert "disabled" == ConnectorRegistry([site.root]).describe("acme").state
    assert "acme" == ConnectorRegistry([site.root], Policy(allow=["acme"])).activate("acme").name
    assert "acme" == ConnectorRegistry([site.root], Policy(pin={"acme": "peft-studio-acme"})).activate("acme").name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[plugins", "FILE cannot be read: "),
        ("plugins = 3", "FILE: plugins must be a table"),
        ('[plugins]\nallow = "acme"', "FILE: plugins.allow has the wrong form"),
        ("[plugins]\npin = [1]", "FILE: plugins.pin has the wrong form"),
        ("[plugins]\nblock = []", "FILE: plugins.block is not a setting"),
    ],
    ids=["torn", "no table", "no list", "no pins", "unknown"],
)
def test_settings_that_cannot_be_read_are_refused(text: str, message: str, home: Path) -> None:
    """A policy that is not understood must not let everybody in."""
    file = write_settings(home, text)
    with pytest.raises(InvalidConfig) as caught:
        Policy.load()

    assert str(caught.value).startswith(message.replace("FILE", str(file)))
    assert caught.value.remedy


def test_settings_that_are_a_folder_are_refused(home: Path) -> None:
    """A policy that cannot be read might forbid; there is no going on without it."""
    (home / "config" / "settings.toml").mkdir(parents=True)
    with pytest.raises(InvalidConfig, match=r"settings\.toml cannot be read: Is a directory"):
        Policy.load()

"""`connectors allow|deny|pin|policy` as a user types them."""

from __future__ import annotations

import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

#: Connectors that are installed where the tests run, and their distributions.
INSTALLED = {
    name
    for entry in entry_points(group="peft_studio.connectors")
    for name in (entry.name, entry.dist.name if entry.dist else entry.name)
}


@pytest.fixture
def file(home: Path) -> Path:
    """Where settings.toml is written."""
    (home / "config").mkdir(parents=True)
    return home / "config" / "settings.toml"


def state(studio: Any, name: str, **environment: str) -> str:
    """The state that the list shows."""
    listed = json.loads(studio("connectors", "list", "--json", **environment).stdout)
    return next(record["state"] for record in listed if record["name"] == name)


def test_deny_and_take_it_back(studio: Any, site: Any, file: Path) -> None:
    """The list follows at once."""
    site.add("acme")

    assert "acme: denied\n" == studio("connectors", "deny", "acme").stdout
    assert "disabled" == state(studio, "acme")
    assert "acme: denied already\n" == studio("connectors", "deny", "acme").stdout
    assert "acme: no longer denied\n" == studio("connectors", "deny", "acme", "--remove").stdout
    assert "described" == state(studio, "acme")
    assert "[plugins]\ndeny = []\n" == file.read_text()


def test_the_first_allowed_name_shuts_the_others_out(studio: Any, site: Any) -> None:
    """Which is said, because not everybody would expect it; --everybody undoes it."""
    for name in ("acme", "other", "third"):
        site.add(name)
    done = studio("connectors", "allow", "acme", "peft-studio-third")

    assert "acme: allowed\npeft-studio-third: allowed\n" == done.stdout
    kept_out = done.stderr.removeprefix("note: kept out now: ").strip().split(", ")
    assert ["other"] == [name for name in kept_out if name not in INSTALLED]
    assert ["described", "disabled", "described"] == [state(studio, name) for name in ("acme", "other", "third")]
    assert "the allow list is gone\n" == studio("connectors", "allow", "--everybody").stdout
    assert "described" == state(studio, "other")
    assert "there was no allow list\n" == studio("connectors", "allow", "--everybody").stdout


def test_a_wish_that_something_else_prevents(studio: Any, site: Any) -> None:
    """Written, but without effect: the note says what is in the way."""
    site.add("acme")
    studio("connectors", "deny", "acme")
    note = "note: acme is disabled all the same: acme is denied; try: take acme out of PEFT_STUDIO_PLUGINS_DENY"

    assert studio("connectors", "allow", "acme").stderr.startswith(note)


def test_the_environment_goes_before(studio: Any, site: Any) -> None:
    """A list in a variable replaces what was written, and a name in the other one stays denied."""
    site.add("acme")
    allowed = studio("connectors", "allow", "acme", PEFT_STUDIO_PLUGINS="other").stderr
    studio("connectors", "deny", "acme")
    taken_back = studio("connectors", "deny", "--remove", "acme", PEFT_STUDIO_PLUGINS_DENY="acme").stderr
    gone = studio("connectors", "allow", "--everybody", PEFT_STUDIO_PLUGINS="none").stderr
    kept_in = studio("connectors", "allow", "acme", "--remove", PEFT_STUDIO_PLUGINS="acme").stderr

    assert "note: PEFT_STUDIO_PLUGINS is set, and its list counts instead of this one" in allowed.splitlines()
    assert "acme is disabled all the same: acme is not allowed; try: add acme to PEFT_STUDIO_PLUGINS" in allowed
    assert "acme is disabled all the same: acme is denied" in taken_back
    assert "note: PEFT_STUDIO_PLUGINS is set, and its list counts instead of this one\n" == gone
    assert "note: acme may be imported all the same" in kept_in.splitlines()


def test_a_name_that_nobody_has(studio: Any, site: Any) -> None:
    """It is written all the same: a policy may come before the plugin."""
    site.add("acme")

    assert "note: nothing installed is called acne; did you mean acme?" in studio("connectors", "allow", "acne").stderr
    assert "" == studio("connectors", "deny", "xyz").stderr


def test_pin_settles_an_ambiguous_name(studio: Any, site: Any) -> None:
    """The distribution is written as it calls itself."""
    site.add("acme")
    site.add("acme", distribution="Other.Acme")

    assert "acme: pinned to Other.Acme\n" == studio("connectors", "pin", "acme", "other-acme").stdout
    assert "Other.Acme" == json.loads(studio("connectors", "show", "acme", "--json").stdout)["distribution"]
    assert "acme: pinned to Other.Acme already\n" == studio("connectors", "pin", "acme", "Other.Acme").stdout
    assert "acme: no longer pinned\n" == studio("connectors", "pin", "acme", "--remove").stdout
    assert "ambiguous" == state(studio, "acme")
    assert "acme: was not pinned\n" == studio("connectors", "pin", "acme", "--remove").stdout


def test_pin_to_somebody_who_does_not_claim_the_name(studio: Any, site: Any, file: Path) -> None:
    """Refused, with those who do."""
    site.add("acme", version="2.0")
    site.add("acme", distribution="other-acme")
    site.add("good")
    wrong = studio("connectors", "pin", "acme", "peft-studio-good", code=9).stderr
    unknown = studio("connectors", "pin", "acne", "peft-studio-acme", code=9).stderr

    assert "peft-studio-good delivers no connector acme: other-acme 1.0.0 and peft-studio-acme 2.0 do" in wrong
    assert "peft-studio connectors pin acme other-acme or peft-studio connectors pin acme peft-studio-acme" in wrong
    assert "there is no connector 'acne'" in unknown
    assert "did you mean acme?" in unknown
    assert not file.exists()


@pytest.mark.parametrize(
    "arguments",
    [["allow"], ["allow", "a", "--everybody"], ["allow", "--everybody", "--remove"], ["deny"], ["pin", "a"],
     ["pin", "a", "b", "--remove"]],
)  # fmt: skip
def test_wrong_usage(arguments: list[str], studio: Any, file: Path) -> None:
    """Nothing is written."""
    studio("connectors", *arguments, code=2)

    assert not file.exists()


def test_policy_shows_every_source(studio: Any, file: Path) -> None:
    """For people and for programs."""
    file.write_text('[plugins]\nallow = ["local"]\ndeny = ["bad"]\n[plugins.pin]\nacme = "other-acme"\n')
    environment = {"PEFT_STUDIO_PLUGINS": "acme,local", "PEFT_STUDIO_PLUGINS_DENY": "worse"}
    rows = [line.split() for line in studio("connectors", "policy", **environment).stdout.splitlines()]
    told = json.loads(studio("connectors", "policy", "--json", **environment).stdout)

    assert [
        ["SETTING", "NAMES", "SOURCE"],
        ["allow", "acme,", "local", "PEFT_STUDIO_PLUGINS"],
        ["allow", "local", f"{file},", "replaced"],
        ["deny", "worse", "PEFT_STUDIO_PLUGINS_DENY"],
        ["deny", "bad", str(file)],
        ["pin", "acme", "=", "other-acme", str(file)],
    ] == rows
    assert (["acme", "local"], ["bad", "worse"], {"acme": "other-acme"}, str(file)) == (
        told["allow"], told["deny"], told["pin"], told["settings"],
    )  # fmt: skip
    assert ["PEFT_STUDIO_PLUGINS", "PEFT_STUDIO_PLUGINS_DENY", str(file)] == [
        each["source"] for each in told["sources"]
    ]
    assert ["local"] == told["sources"][2]["allow"]


def test_without_a_policy(studio: Any, file: Path) -> None:
    """It is said that nothing is said, and where it would be."""
    assert f"every plugin may be imported; a policy would stand in {file}\n" == studio("connectors", "policy").stderr
    assert None is json.loads(studio("connectors", "policy", "--json").stdout)["allow"]


def test_changes_as_json(studio: Any, site: Any, file: Path) -> None:
    """What changed, what to know, and the policy that came of it."""
    site.add("acme")
    told = json.loads(studio("connectors", "allow", "acme", "nobody", "--json").stdout)

    assert ["acme", "nobody"] == told["changed"]
    assert "nothing installed is called nobody" == told["notes"][0]
    assert ["acme", "nobody"] == told["policy"]["allow"]
    assert [] == json.loads(studio("connectors", "allow", "acme", "--json").stdout)["changed"]


def test_no_plugin_is_imported(studio: Any, site: Any) -> None:
    """Deciding whom to trust must not run them."""
    for name in ("acme", "other"):
        site.add(name, init="raise SystemExit('imported')", plugin="raise SystemExit('imported')")
    site.add("acme", distribution="other-acme", init="raise SystemExit('imported')")

    for arguments in (["allow", "acme"], ["deny", "other"], ["pin", "acme", "other-acme"], ["policy"]):
        assert "imported" not in studio("connectors", *arguments).stderr


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("connectors allow ", ["acme", "other", "peft-studio-acme", "peft-studio-other"]),
        ("connectors deny --remove ", ["one", "two"]),
        ("connectors pin ", ["acme", "other"]),
        ("connectors pin acme ", ["peft-studio-acme"]),
        ("connectors pin --remove ", ["third"]),
        ("connectors po", ["policy"]),
    ],
)
def test_completion(words: str, offered: list[str], studio: Any, site: Any, file: Path) -> None:
    """What is there for the argument that the shell asks about."""
    site.add("acme")
    site.add("other")
    file.write_text('[plugins]\ndeny = ["one", "two"]\n[plugins.pin]\nthird = "x"\n')
    done = studio(
        _PEFT_STUDIO_COMPLETE="bash_complete", COMP_WORDS=f"peft-studio {words}", COMP_CWORD=str(words.count(" ") + 1)
    )
    mine = [line.removeprefix("plain,") for line in done.stdout.splitlines()]

    assert offered == [name for name in mine if name not in INSTALLED]


def test_help_with_torn_settings(studio: Any, file: Path) -> None:
    """Core's commands are shown, and at the end what keeps the others from being shown."""
    file.write_text("[plugins")
    page = studio("--help").stdout

    assert "\n  connectors  " in page
    assert page.splitlines()[-2].startswith(f"Error: {file} cannot be read: ")
    assert "  try: mend the file at that place" == page.splitlines()[-1]
    assert "cannot be read" in studio("no-such-command", code=3).stderr

"""Names: which are taken, and what follows from one."""

from __future__ import annotations

import pytest

from peft_studio import InvalidConfig
from peft_studio_testkit.scaffold.names import LONGEST_AUTHOR, LONGEST_DISPLAY_NAME, LONGEST_NAME, Names


def test_one_name_is_written_the_way_each_place_wants_it():
    """Distribution, package, class, variable and display name follow from `acme-cloud2`."""
    names = Names.of("acme-cloud2")

    assert ("peft-studio-acme-cloud2", "peft_studio_acme_cloud2", "AcmeCloud2", "ACME_CLOUD2", "Acme Cloud2") == (
        names.distribution, names.package, names.prefix, names.variable, names.display_name,
    )  # fmt: skip


@pytest.mark.parametrize(
    "name", ["", "Acme", "2acme", "acme--cloud", "-acme", "acme-", "acme_cloud", "acme cloud", "äcme", "acme\n", "a/b"]
)
def test_a_name_that_is_none_is_refused(name):
    """The sentence has the name and the rule."""
    with pytest.raises(InvalidConfig) as caught:
        Names.of(name)

    assert f"{name!r} cannot be the name of a connector: it must be lower-case letters" in str(caught.value)


@pytest.mark.parametrize(("name", "reason"), [
    ("class", "a word of Python itself"),
    ("local", "peft-studio-local belongs to PEFT Studio itself"),
    ("testkit", "peft-studio-testkit belongs to PEFT Studio itself"),
    ("runpod", "peft-studio-runpod belongs to PEFT Studio itself"),
    ("a" * (LONGEST_NAME + 1), f"over {LONGEST_NAME} letters"),
])  # fmt: skip
def test_a_name_that_is_taken_is_refused(name, reason):
    """Words of Python, distributions of the project, and names that would break the lines of the code."""
    with pytest.raises(InvalidConfig) as caught:
        Names.of(name)

    assert reason in str(caught.value)


def test_the_longest_name_is_accepted():
    """The limit itself is fine."""
    assert "a" * LONGEST_NAME == Names.of("a" * LONGEST_NAME).name


@pytest.mark.parametrize("text", ['Acme "Cloud"', "Acme\nCloud", "back\\slash", "{{ x }}", " Acme"])
def test_a_text_that_would_break_the_code_is_refused(text):
    """Display name and author are written into Python, JSON and TOML as they are."""
    for given in ({"display_name": text}, {"author": text}):
        with pytest.raises(InvalidConfig, match="must be one line"):
            Names.of("acme", **given)


@pytest.mark.parametrize(("field", "longest"), [("display_name", LONGEST_DISPLAY_NAME), ("author", LONGEST_AUTHOR)])
def test_a_long_text_is_refused(field, longest):
    """Up to the limit it is fine."""
    assert longest * "A" == getattr(Names.of("acme", **{field: longest * "A"}), field)
    with pytest.raises(InvalidConfig, match=f"at most {longest} columns"):
        Names.of("acme", **{field: (longest + 1) * "A"})
    with pytest.raises(InvalidConfig, match=f"at most {longest} columns"):
        Names.of("acme", **{field: (longest // 2 + 1) * "雲"})


def test_any_script_is_fine():
    """A platform and an author are called what they are called."""
    names = Names.of("acme", "Акме 雲", "Zoë O’Hara")

    assert ("Акме 雲", "Zoë O’Hara") == (names.display_name, names.author)

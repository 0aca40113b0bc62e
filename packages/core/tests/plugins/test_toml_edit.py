"""One value of a TOML document is changed, and every other line stays as it is."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from attrs import frozen
from hypothesis import given
from hypothesis import strategies as st

from peft_studio._toml_edit import CannotEdit, put

#: Lines that a user may have beside [plugins], some of them made to look like it.
ELSEWHERE = [
    "# a remark about allow = []\n",
    "\n",
    "   \t\n",
    'title = "[plugins]"  # not a header\n',
    'poem = """\n[plugins]\nallow = ["nobody"]\n"""\n',
    "raw = '''\n[plugins.pin]\nacme = \"no\" # '''\n",
    "numbers = [\n  1, # one\n  2,\n]\n",
    "ratio = nan\nlimit = -inf\n",
    "when = 2026-11-22T01:02:03Z\n",
    "point = { x = 1, y = [2, 3] }\n",
    '"quoted key"."with.dots" = true\n',
]
TABLES = [
    "[other]\nallow = [1]\n",
    '[ other . "plugins" ] # inner\ndeny = "x"\n',
    "[[job]]\nname = 'a'\n[[job]]\nname = 'b'\n",
]
NAMES = st.sampled_from(["local", "runpod", "a-b", "peft_studio_x", "ümlaut", 'quo"te', "ba\\ck"])
KEYS = st.sampled_from(["allow", "deny"])
COMMENTS = st.sampled_from(["", "  # mine", " # [x], 'y'"])


def written(name: str, quotes: int = 3) -> st.SearchStrategy[str]:
    """The ways to write a text; a key has one quote, a value may have three."""
    basic = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    ways = [basic, f"'{name}'", f'""{basic}""', f"'''{name}'''"]
    return st.sampled_from(ways[: 4 if quotes == 3 else 2])


@st.composite
def lists(draw: st.DrawFn, names: list[str]) -> str:
    """A list of these names: in one line or several, with comments, with or without a last comma."""
    values = [draw(written(name)) for name in names]
    last = "," if values and draw(st.booleans()) else ""
    if draw(st.booleans()):
        return "[" + draw(st.sampled_from([", ", ",", " , "])).join(values) + last + "]"
    lines = [f"    {value}{',' if number < len(values) - 1 else last}" for number, value in enumerate(values)]
    lines = [line + draw(COMMENTS) for line in lines]
    return "[\n" + draw(st.sampled_from(["", "    # who\n"])) + "".join(f"{line}\n" for line in lines) + "]"


@frozen
class Settings:
    """A settings.toml as its statements; `at` tells which of them holds a list, or a pin."""

    statements: list[str]
    newline: str
    lists: dict[str, list[str]]
    pins: dict[str, str]
    at: dict[str, int]

    @property
    def text(self) -> str:
        return self.join(self.statements)

    def join(self, statements: list[str]) -> str:
        return "".join(statements).replace("\n", self.newline)

    def around(self, number: int, length: int) -> tuple[str, str]:
        """What stands before the statement, and what stands behind as many as `length`."""
        return self.join(self.statements[:number]), self.join(self.statements[number + length :])


@st.composite
def settings(draw: st.DrawFn) -> Settings:
    """Any settings.toml: with or without lists and pins, in each form that they can have."""
    form = draw(st.sampled_from(["tables", "dotted", "inline"]))
    names = {key: draw(st.lists(NAMES, unique=True, max_size=3)) for key in sorted(draw(st.sets(KEYS)))}
    pins = draw(st.dictionaries(NAMES, NAMES, max_size=3))
    dots = "plugins." if form == "dotted" else ""
    lines = {key: f"{dots}{key} = {draw(lists(listed))}{draw(COMMENTS)}\n" for key, listed in names.items()}
    pairs = {name: f"{draw(written(name, quotes=1))} = {draw(written(owner))}" for name, owner in pins.items()}
    if form == "inline":
        lines |= {"pin": f"pin = {{ {', '.join(pairs.values())} }}{draw(COMMENTS)}\n"} if pins else {}
    elif form == "dotted":
        lines |= {f"pin.{name}": f"plugins.pin.{pair}{draw(COMMENTS)}\n" for name, pair in pairs.items()}
    elif pins:
        lines |= {"": "\n[plugins.pin]\n"}
        lines |= {f"pin.{name}": f"  {pair}{draw(COMMENTS)}\n" for name, pair in pairs.items()}
    header = ["[plugins]  # who may\n"] if form != "dotted" and (names or "pin" in lines) else []
    before = [*draw(st.lists(st.sampled_from(ELSEWHERE), unique=True)), *header]
    after = draw(st.lists(st.sampled_from(TABLES), unique=True))
    at = {key: len(before) + number for number, key in enumerate(lines)}
    newline = draw(st.sampled_from(["\n", "\r\n"]))
    return Settings([*before, *lines.values(), *after], newline, names, pins, at)


def plugins(text: str) -> dict[str, Any]:
    """The [plugins] table as everybody else reads it, and all the rest."""
    document = tomllib.loads(text, parse_float=str)
    table = document.pop("plugins", {})
    table.setdefault("pin", {})
    return {"rest": document, **table}


def assert_rest_is_untouched(before: Settings, after: str, key: str) -> None:
    """Byte by byte, all but the statement of that key; where it had none, all."""
    if key in before.at:
        head, tail = before.around(before.at[key], 1)
        assert after.startswith(head)
        assert after.endswith(tail)
    else:
        places = [before.around(number, 0) for number in range(len(before.statements) + 1)]
        assert any(after.startswith(head) and after.endswith(tail) for head, tail in places)


@given(settings(), KEYS, st.lists(NAMES, unique=True, max_size=4))
def test_names_come_and_go(before: Settings, key: str, wanted: list[str]) -> None:
    """The list says what it should, and nothing else has changed."""
    was = before.lists.get(key, [])
    names = [name for name in was if name in wanted] + [name for name in wanted if name not in was]
    after = put(before.text, ("plugins", key), names)

    assert {**plugins(before.text), key: names} == plugins(after)
    assert_rest_is_untouched(before, after, key)


@given(settings(), KEYS)
def test_a_list_goes(before: Settings, key: str) -> None:
    """Its statement is taken out, with its comment."""
    after = put(before.text, ("plugins", key), None)
    head, tail = before.around(before.at[key], 1) if key in before.at else (before.text, "")

    assert head + tail == after


@given(settings(), NAMES, NAMES)
def test_pins_come(before: Settings, name: str, owner: str) -> None:
    """A pin is written, or written anew, in the form in which the others are."""
    after = put(before.text, ("plugins", "pin", name), owner)
    expected = plugins(before.text)

    assert {**expected, "pin": {**before.pins, name: owner}} == plugins(after)
    assert_rest_is_untouched(before, after, "pin" if "pin" in before.at else f"pin.{name}")


@given(settings(), NAMES)
def test_pins_go(before: Settings, name: str) -> None:
    """The others stay."""
    after = put(before.text, ("plugins", "pin", name), None)
    pins = {other: owner for other, owner in before.pins.items() if other != name}

    assert {**plugins(before.text), "pin": pins} == plugins(after)
    assert_rest_is_untouched(before, after, "pin" if "pin" in before.at else f"pin.{name}")


LIST = """\
[plugins]
allow = [  # who may
    "local",   # always
    # rented ones
    'runpod' # since May
]
"""


def test_comments_stay_beside_their_names() -> None:
    """A new name gets a line of its own, behind the comment of the last one."""
    after = put(LIST, ("plugins", "allow"), ["local", "runpod", "acme"])

    assert LIST.replace("'runpod' # since May\n", "'runpod', # since May\n    \"acme\"\n") == after


def test_a_name_goes_with_its_comment() -> None:
    """A line that holds one name goes as a whole; the remark above it may be about others."""
    assert LIST.replace("    'runpod' # since May\n", "") == put(LIST, ("plugins", "allow"), ["local"])
    assert LIST.replace('    "local",   # always\n', "") == put(LIST, ("plugins", "allow"), ["runpod"])


@pytest.mark.parametrize(
    ("before", "names", "after"),
    [
        ("allow = ['a', 'b'] # c", ["b"], "allow = ['b'] # c"),
        ("allow = ['a', 'b'] # c", ["a"], "allow = ['a'] # c"),
        ("allow = [ 'a' ]", ["a", "b"], "allow = [ 'a', \"b\" ]"),
        ("allow = ['a',]", ["a", "b"], "allow = ['a', \"b\",]"),
        ("allow = ['a',]", [], "allow = []"),
        ("allow = [\n  # nobody yet\n]", ["a"], 'allow = [\n  # nobody yet\n    "a",\n]'),
        ("allow = ['a'\n]", ["a", "b"], "allow = ['a',\n    \"b\"\n]"),
        ("allow = ['a', # why\n  'b']", ["a"], "allow = ['a', # why\n  ]"),
        ("allow = ['a'\n, 'b'\n]", ["a"], "allow = ['a'\n]"),
    ],
)  # fmt: skip
def test_layout_of_a_list(before: str, names: list[str], after: str) -> None:
    """What is added looks like what was there."""
    assert f"[plugins]\n{after}\n" == put(f"[plugins]\n{before}\n", ("plugins", "allow"), names)


def test_a_file_without_a_last_line_end() -> None:
    """It gets one, and then the new table."""
    assert 'a = 1\n\n[plugins]\nallow = ["x"]\n' == put("a = 1", ("plugins", "allow"), ["x"])
    assert '[plugins]\nallow = ["x"]\n' == put("[plugins]", ("plugins", "allow"), ["x"])


def test_an_inline_table_of_everything_is_left_to_the_user() -> None:
    """Rather refused than rewritten; the sentence says where."""
    with pytest.raises(CannotEdit, match="allow is written in a form that only an editor can change"):
        put("plugins = { allow = ['a'] }", ("plugins", "allow"), ["a", "b"])
    with pytest.raises(CannotEdit, match="plugins is an inline table; write it as a table of its own first"):
        put("plugins = { allow = ['a'] }", ("plugins", "pin", "x"), "y")


def test_what_is_no_toml_is_refused() -> None:
    """Nothing is guessed about a torn file."""
    with pytest.raises(tomllib.TOMLDecodeError):
        put("[plugins", ("plugins", "allow"), ["x"])

"""Add and remove one value of a TOML list, or one pair of an inline table, and keep comments and layout."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence

from attrs import frozen

_TOKEN = re.compile(
    r'''(?P<text>"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')'''
    r"""|(?P<comment>\#[^\n]*)|(?P<open>[\[{])|(?P<close>[\]}])|(?P<comma>,)|(?P<space>\s+)|(?P<word>[^\s"'\#\[\]{},]+)""",
    re.DOTALL,
)
_SPACES = re.compile(r"[ \t]*")


@frozen
class Item:
    """One value, or one pair; `after` is behind its comma, if it has one."""

    start: int
    end: int
    after: int


def keys(text: str, start: int) -> Iterator[tuple[str, Item]]:
    """Each text of the list, or each key of the inline table, that opens at `start`."""
    for item in _items(text, start)[0]:
        content = text[item.start : item.end]
        yield next(iter(tomllib.loads(content))) if text[start] == "{" else tomllib.loads(f"a = {content}")["a"], item


def token_end(text: str, start: int) -> int:
    """Where the text that begins at `start` ends."""
    token = _TOKEN.match(text, start)
    assert token is not None
    return token.end()


def line_start(text: str, position: int) -> int:
    """Where the line begins."""
    return text.rfind("\n", 0, position) + 1


def line_end(text: str, position: int) -> int:
    """Where the next line begins."""
    found = text.find("\n", position)
    return len(text) if found < 0 else found + 1


def with_item(text: str, start: int, item: str) -> str:
    """The text with one more value, or pair, in what opens at `start`."""
    items, close = _items(text, start)
    if not items:
        return _with_first_item(text, start, close, item)
    last = items[-1]
    has_comma = last.after > last.end
    if "\n" not in text[last.after : close]:
        return text[: last.after] + (f" {item}," if has_comma else f", {item}") + text[last.after :]
    before = text[line_start(text, last.start) : last.start]
    indent = "    " if before.strip() else before
    end = line_end(text, last.after)
    newline = "\r\n" if text[:end].endswith("\r\n") else "\n"
    head = text[:end] if has_comma else text[: last.end] + "," + text[last.end : end]
    return head + indent + item + ("," if has_comma else "") + newline + text[end:]


def without_items(text: str, start: int, names: Sequence[str]) -> str:
    """The text without the values that are `names`, or the pairs with such keys, in what opens at `start`."""
    found = list(keys(text, start))
    for number, (name, item) in reversed(list(enumerate(found))):
        if name in names:
            text = _without_item(text, item, found[number - 1][1] if number else None)
    return text


def _items(text: str, start: int) -> tuple[list[Item], int]:
    """What is in the brackets that open at `start`, and where they close."""
    items: list[Item] = []
    begin = end = depth = 0
    for token in _TOKEN.finditer(text, start):
        kind = token.lastgroup
        depth += {"open": 1, "close": -1}.get(str(kind), 0)
        is_over = depth == 0 or (kind == "comma" and depth == 1)
        if is_over and end:
            items.append(Item(begin, end, token.end() if kind == "comma" else end))
            end = 0
        elif not is_over and kind not in ("space", "comment") and token.start() > start:
            begin, end = begin if end else token.start(), token.end()
        if depth == 0:
            return items, token.start()
    raise AssertionError("tomllib has read it, so the brackets close")


def _with_first_item(text: str, start: int, close: int, item: str) -> str:
    if not text[start + 1 : close].strip():
        return text[: start + 1] + (f" {item} " if text[start] == "{" else item) + text[close:]
    line = line_start(text, close)  # only comments inside, so the bracket stands on a later line
    newline = "\r\n" if text[:line].endswith("\r\n") else "\n"
    return f"{text[:line]}    {item},{newline}{text[line:]}"


def _without_item(text: str, item: Item, before: Item | None) -> str:
    line, end_of_line = line_start(text, item.start), line_end(text, item.after)
    rest = text[item.after : end_of_line].strip()
    if not text[line : item.start].strip() and (not rest or rest.startswith("#")):
        return text[:line] + text[end_of_line:]  # it has the line to itself
    begin, end = item.start, item.after
    if end > item.end:
        end = _SPACES.match(text, end).end()  # type: ignore[union-attr]  # matches anything
    elif before is not None and not text[before.after : begin].strip():
        begin = before.end
    return text[:begin] + text[end:]

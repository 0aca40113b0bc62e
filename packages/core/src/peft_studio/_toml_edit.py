"""Change one value in a TOML document and leave every other line as it is.

The standard library reads TOML and does not write it; a library that does would be core's eleventh package. This module
knows two kinds of values, a text and a list of texts. Where a statement ends is found out with tomllib, and so is
whether the result says what it should: whatever comes out otherwise is never returned.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

from attrs import frozen

from peft_studio._toml_lists import keys, line_end, line_start, token_end, with_item, without_items

Value = str | Sequence[str] | None

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_KEY = re.compile(rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*")
_SPACES = re.compile(r"[ \t]*")


class CannotEdit(ValueError):
    """The document writes it in a form that this module does not change."""


@frozen
class Statement:
    """A table header, or a key with its value."""

    path: tuple[str, ...]
    is_header: bool
    #: Where it begins, where its value does, and where the next line begins.
    start: int
    value: int
    end: int


def put(text: str, path: tuple[str, ...], value: Value) -> str:
    """The document with `value` at `path`; None takes the key out. Raises `CannotEdit`, and what tomllib raises."""
    before = _load(text)
    if value is None:
        after = _without(text, path)
    elif isinstance(value, str):
        after = _with_text(text, path, value)
    else:
        after = _with_list(text, path, _get(before, path) or (), value)
    try:
        is_right = _pruned(_load(after)) == _pruned(_expected(before, path, value))
    except tomllib.TOMLDecodeError:
        is_right = False
    if not is_right:
        raise CannotEdit(f"{'.'.join(path)} is written in a form that only an editor can change")
    return after


def _load(text: str) -> dict[str, Any]:
    return tomllib.loads(text, parse_float=str)  # as texts, because nan is not equal to nan


def _get(document: Any, path: tuple[str, ...]) -> Any:
    for part in path:
        document = document.get(part, {})
    return document


def _expected(document: dict[str, Any], path: tuple[str, ...], value: Value) -> dict[str, Any]:
    part, *rest = path
    if rest:
        return {**document, part: _expected(document.get(part, {}), tuple(rest), value)}
    others = {key: other for key, other in document.items() if key != part}
    return others if value is None else {**others, part: value if isinstance(value, str) else list(value)}


def _pruned(document: Any) -> Any:
    """Without empty tables: whether a table without keys is there or not means the same."""
    if not isinstance(document, dict):
        return document
    pruned = {key: _pruned(value) for key, value in document.items()}
    return {key: value for key, value in pruned.items() if value != {}}


def _statements(text: str) -> Iterator[Statement]:
    """Every statement; a multi-line value belongs to the statement that begins it."""
    table: tuple[str, ...] = ()
    position = 0
    while position < len(text):
        first = _SPACES.match(text, position).end()  # type: ignore[union-attr]  # matches anything
        end = line_end(text, position)
        if text[first : first + 1] not in ("#", "\n", "\r", ""):
            while not _is_complete(text[position:end]):
                end = line_end(text, end)
            statement = _statement(text, first, end, table)
            table = statement.path if statement.is_header else table
            yield statement
        position = end


def _statement(text: str, start: int, end: int, table: tuple[str, ...]) -> Statement:
    is_header = text[start] == "["
    at = re.compile(r"[\[ \t]*").match(text, start).end() if is_header else start  # type: ignore[union-attr]  # matches nothing at least
    key = _KEY.match(text, at)
    assert key is not None
    path: tuple[str, ...] = ()
    document: Any = tomllib.loads(f"{key[0]} = 0")
    while isinstance(document, dict):
        ((part, document),) = document.items()
        path += (part,)
    value = re.compile(r"[ \t]*=?[ \t]*").match(text, key.end()).end()  # type: ignore[union-attr]  # matches nothing at least
    return Statement(path if is_header else table + path, is_header, start, value, end)


def _is_complete(statement: str) -> bool:
    try:
        tomllib.loads(statement)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _find(text: str, path: tuple[str, ...]) -> Statement | None:
    """The statement that gives `path` its value; refuses an inline table on the way to it."""
    for statement in _statements(text):
        if statement.is_header:
            continue
        if statement.path == path:
            return statement
        if statement.path == path[: len(statement.path)] and len(statement.path) < len(path) - 1:
            raise CannotEdit(f"{'.'.join(statement.path)} is an inline table; write it as a table of its own first")
    return None


def _with_text(text: str, path: tuple[str, ...], value: str) -> str:
    found = _find(text, path)
    if found is not None:
        return text[: found.value] + _quoted(value) + text[token_end(text, found.value) :]
    inline = _find(text, path[:-1])
    if inline is None:
        return _with_new_key(text, path, _quoted(value))
    pair = f"{_bare(path[-1])} = {_quoted(value)}"
    for key, item in keys(text, inline.value):
        if key == path[-1]:
            return text[: item.start] + pair + text[item.end :]
    return with_item(text, inline.value, pair)


def _with_list(text: str, path: tuple[str, ...], before: Sequence[str], value: Sequence[str]) -> str:
    if _find(text, path) is None:
        return _with_new_key(text, path, f"[{', '.join(map(_quoted, value))}]")
    for name in before:
        if name not in value:
            text = without_items(text, _list_at(text, path), [name])
    for name in value:
        if name not in before:
            text = with_item(text, _list_at(text, path), _quoted(name))
    return text


def _without(text: str, path: tuple[str, ...]) -> str:
    found = _find(text, path)
    if found is not None:
        return text[: line_start(text, found.start)] + text[found.end :]
    inline = _find(text, path[:-1])
    return text if inline is None else without_items(text, inline.value, path[-1:])


def _list_at(text: str, path: tuple[str, ...]) -> int:
    found = _find(text, path)
    assert found is not None
    return found.value


def _with_new_key(text: str, path: tuple[str, ...], value: str) -> str:
    """Under the header of its table, else beside a key that is written like it, else under a new header at the end."""
    newline = "\r\n" if "\r\n" in text else "\n"
    table, key = path[:-1], path[-1]
    end, prefix, indent = None, "", ""
    under: tuple[str, ...] = ()
    for statement in _statements(text):
        if statement.is_header:
            under = statement.path
        is_dotted = len(under) < len(table) < len(statement.path) and statement.path[: len(table)] == table
        if under == table or (is_dotted and not statement.is_header):
            end = statement.end
            prefix = "".join(f"{_bare(part)}." for part in table[len(under) :])
            indent = text[line_start(text, statement.start) : statement.start]
    line = f"{_bare(key)} = {value}{newline}"
    if end is None:
        header = f"[{'.'.join(map(_bare, table))}]{newline}"
        return _ended(text, newline) + (newline if text.strip() else "") + header + line
    return _ended(text[:end], newline) + indent + prefix + line + text[end:]


def _ended(text: str, newline: str) -> str:
    return text if not text or text.endswith("\n") else text + newline


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _bare(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _quoted(key)

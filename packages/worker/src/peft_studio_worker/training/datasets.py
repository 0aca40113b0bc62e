"""Read a dataset file into rows that know where they stand.

JSON Lines, JSON, CSV and Parquet; always UTF-8. Nothing is skipped: what cannot be read refuses the whole file, and
every fault is told with its line.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from peft_studio.errors import InvalidConfig
from peft_studio.models import Problem

#: How many faults a message spells out.
SHOWN_PROBLEMS: Final = 10


@frozen
class Row:
    """One record of the dataset. `line` counts from 1; for Parquet it is the number of the row."""

    line: int
    values: dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Every row of the dataset at `path`. Raises `InvalidConfig` that names each bad line."""
    reader = _READERS.get(path.suffix.lower())
    if not path.exists():
        raise InvalidConfig(f"dataset {path} does not exist", remedy="check dataset_path")
    if not path.is_file():
        raise InvalidConfig(f"dataset {path} is not a file", remedy="give one .jsonl, .json, .csv or .parquet file")
    if reader is None:
        raise InvalidConfig(f"dataset {path} has an unknown type", remedy=f"use one of {', '.join(sorted(_READERS))}")
    try:
        rows, problems = reader(path)
    except OSError as error:
        raise InvalidConfig(f"dataset {path} cannot be read", why=error.strerror or str(error)) from error
    if problems:
        raise bad_rows(path, problems)
    if not rows:
        raise InvalidConfig(f"dataset {path} is empty", remedy="it needs at least one row")
    return rows


def bad_rows(path: Path, problems: list[Problem]) -> InvalidConfig:
    """One error for all faults of a dataset; the message shows the first ones and how many there are."""
    shown = "; ".join(f"line {problem.line}: {problem.message}" for problem in problems[:SHOWN_PROBLEMS])
    more = len(problems) - SHOWN_PROBLEMS
    why = shown if more <= 0 else f"{shown}; and {more} more"
    rows = "1 bad row" if len(problems) == 1 else f"{len(problems)} bad rows"
    return InvalidConfig(
        f"dataset {path} has {rows}", why=why, problems=problems, remedy="mend or remove them, nothing was trained"
    )


_Answer = tuple[list[Row], list[Problem]]


def _read_json_lines(path: Path) -> _Answer:
    text = _decode(path)
    rows: list[Row] = []
    problems: list[Problem] = []
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            is_torn = number == len(lines)  # a whole file ends with a newline, so its last piece is empty
            message = (
                "the line is cut off in the middle" if is_torn else f"not JSON: {error.msg} (column {error.colno})"
            )
            problems.append(Problem(message=message, line=number, file=path))
            continue
        _keep(value, number, path, rows, problems)
    return rows, problems


def _read_json(path: Path) -> _Answer:
    text = _decode(path)
    rows: list[Row] = []
    problems: list[Problem] = []
    try:
        for line, value in _array_items(text):
            _keep(value, line, path, rows, problems)
    except json.JSONDecodeError as error:
        problems.append(Problem(message=f"not JSON: {error.msg} (column {error.colno})", line=error.lineno, file=path))
    return rows, problems


def _array_items(text: str) -> Iterator[tuple[int, Any]]:
    """Each element of a JSON array with the line it starts on."""
    decoder = json.JSONDecoder()
    position, line, counted = _skip_space(text, 0), 1, 0
    if not text.strip():
        return
    if text[position] != "[":
        raise json.JSONDecodeError(
            "the file must be one list of objects; one object per line is .jsonl", text, position
        )
    position = _skip_space(text, position + 1)
    while position < len(text) and text[position] != "]":
        line, counted = line + text.count("\n", counted, position), position
        value, position = decoder.raw_decode(text, position)
        yield line, value
        position = _skip_space(text, position)
        if text[position : position + 1] == ",":
            position = _skip_space(text, position + 1)
        elif text[position : position + 1] != "]":
            raise json.JSONDecodeError("the list is cut off, or a comma is missing", text, position)
    if position >= len(text):
        raise json.JSONDecodeError("the list is cut off", text, len(text))


def _skip_space(text: str, position: int) -> int:
    while position < len(text) and text[position].isspace():
        position += 1
    return position


def _read_csv(path: Path) -> _Answer:
    csv.field_size_limit(sys.maxsize)
    reader = csv.reader(io.StringIO(_decode(path), newline=""), strict=True)
    rows: list[Row] = []
    problems: list[Problem] = []
    header: list[str] | None = None
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return rows, problems
        except csv.Error as error:
            problems.append(Problem(message=f"not CSV: {error}", line=line, file=path))
            return rows, problems
        if header is None:
            header = cells
        elif len(cells) == len(header):
            rows.append(Row(line, dict(zip(header, cells, strict=True))))
        elif cells:
            message = f"{len(cells)} cells, but the header has {len(header)}"
            problems.append(Problem(message=message, line=line, file=path))


def _read_parquet(path: Path) -> _Answer:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise InvalidConfig(
            f"dataset {path} cannot be read", why="pyarrow is not installed",
            remedy="install peft-studio-worker[parquet], or convert the dataset to .jsonl",
        ) from error  # fmt: skip
    try:
        records = parquet.read_table(path).to_pylist()
    except ArrowException as error:
        raise InvalidConfig(f"dataset {path} cannot be read", why=str(error)) from error
    return [Row(number, record) for number, record in enumerate(records, start=1)], []


def _decode(path: Path) -> str:
    """The text of a UTF-8 file. Raises `InvalidConfig` that says which encoding it seems to have instead."""
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InvalidConfig(f"dataset {path} is UTF-16", remedy="save it as UTF-8")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InvalidConfig(
            f"dataset {path} is not UTF-8",
            why=f"line {line} has the byte 0x{content[error.start]:02x}",
            remedy="save it as UTF-8",
            problems=[Problem(message="not UTF-8", line=line, file=path)],
        ) from error


def _keep(value: Any, line: int, path: Path, rows: list[Row], problems: list[Problem]) -> None:
    if isinstance(value, dict):
        rows.append(Row(line, value))
    else:
        kind = "a list" if isinstance(value, list) else f"{json.dumps(value)[:40]}"
        problems.append(Problem(message=f"must be an object, not {kind}", line=line, file=path))


_READERS: dict[str, Callable[[Path], _Answer]] = {
    ".jsonl": _read_json_lines,
    ".ndjson": _read_json_lines,
    ".json": _read_json,
    ".csv": _read_csv,
    ".parquet": _read_parquet,
}

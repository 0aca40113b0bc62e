"""Which of the field's dataset formats a file has, and each row in one common shape.

The common shape is a conversation (a list of chat messages), or a plain text. The columns of the first row decide on
the format; a row that does not fit it is a fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from peft_studio.errors import InvalidConfig
from peft_studio.models import Problem
from peft_studio_worker.training.datasets import Row, bad_rows

Message = dict[str, Any]


@frozen
class Record:
    """One training record: `messages` that end with the assistant, or `text`."""

    line: int
    messages: list[Message] | None = None
    text: str | None = None
    #: Function descriptions that the chat template shows to the model.
    tools: list[Any] | None = None


@frozen
class DatasetFormat:
    """A format: its name, the columns that mark it, those it may have besides, and how a row is read."""

    name: str
    marks: frozenset[str]
    others: frozenset[str]
    read: Callable[[Mapping[str, Any]], list[Message] | str]


class _BadRow(ValueError):
    """A row that does not fit its format; the text says why."""


def recognise(rows: list[Row], path: Path) -> DatasetFormat:
    """The format of the dataset, by the columns of its first row. Raises `InvalidConfig` when they fit none."""
    columns = rows[0].values.keys()
    for candidate in FORMATS:
        if candidate.marks <= columns:
            return candidate
    known = "; ".join(f"{known.name} ({', '.join(sorted(known.marks))})" for known in FORMATS)
    raise InvalidConfig(
        f"dataset {path} has no known format",
        why=f"its columns are {', '.join(map(str, columns)) or 'none'}",
        remedy=f"use one of: {known}",
    )


def read_records(rows: list[Row], path: Path) -> tuple[list[Record], DatasetFormat]:
    """Every row as a record. Raises `InvalidConfig` that names each row that does not fit the format."""
    chosen = recognise(rows, path)
    records, problems = [], []
    for row in rows:
        try:
            records.append(_record(chosen, row))
        except _BadRow as error:
            problems.append(Problem(message=str(error), line=row.line, file=path))
    if problems:
        raise bad_rows(path, problems)
    return records, chosen


def unused_columns(rows: list[Row], chosen: DatasetFormat) -> list[str]:
    """Columns that the format does not read, sorted."""
    present = {str(column) for row in rows for column in row.values}
    return sorted(present - chosen.marks - chosen.others)


def _record(chosen: DatasetFormat, row: Row) -> Record:
    missing = sorted(chosen.marks - row.values.keys())
    if missing:
        raise _BadRow(f"{missing[0]} is missing ({chosen.name} format)")
    content = chosen.read(row.values)
    if isinstance(content, str):
        return Record(row.line, text=content)
    tools = row.values.get("tools") if "tools" in chosen.others else None
    return Record(row.line, messages=content, tools=tools or None)


def _read_alpaca(row: Mapping[str, Any]) -> list[Message]:
    instruction, extra = _text(row, "instruction"), _text(row, "input", may_be_empty=True)
    messages = _system(row)
    for turn in row.get("history") or []:
        if not (isinstance(turn, list | tuple) and len(turn) == 2 and all(isinstance(part, str) for part in turn)):
            raise _BadRow("history must be a list of [question, answer] pairs")
        messages += [_message("user", turn[0]), _message("assistant", turn[1])]
    question = f"{instruction}\n{extra}" if extra else instruction
    return [*messages, _message("user", question), _message("assistant", _text(row, "output"))]


def _read_prompt_completion(row: Mapping[str, Any]) -> list[Message]:
    prompt, completion = row["prompt"], row["completion"]
    if isinstance(prompt, list) and isinstance(completion, list):
        return _conversation([*prompt, *completion], "prompt")
    return [
        *_system(row),
        _message("user", _text(row, "prompt")),
        _message("assistant", _text(row, "completion")),
    ]


def _read_messages(row: Mapping[str, Any]) -> list[Message]:
    return _conversation(row["messages"], "messages")


_SHAREGPT_ROLES: Final = {
    "human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system",
    "tool": "tool", "observation": "tool",
}  # fmt: skip


def _read_sharegpt(row: Mapping[str, Any]) -> list[Message]:
    turns = row["conversations"]
    if not isinstance(turns, list) or not all(isinstance(turn, dict) for turn in turns):
        raise _BadRow("conversations must be a list of objects")
    unknown = [turn.get("from") for turn in turns if str(turn.get("from")) not in _SHAREGPT_ROLES]
    if unknown:
        raise _BadRow(f"unknown speaker {unknown[0]!r} in conversations")
    renamed = [{"role": _SHAREGPT_ROLES[turn["from"]], "content": turn.get("value")} for turn in turns]
    return _conversation([*_system(row), *renamed], "conversations")


def _read_text(row: Mapping[str, Any]) -> str:
    return _text(row, "text")


_ROLES: Final = ("system", "developer", "user", "assistant", "tool")


def _conversation(messages: Any, column: str) -> list[Message]:
    if not isinstance(messages, list) or not messages:
        raise _BadRow(f"{column} must be a list of messages")
    for message in messages:
        _check_message(message)
    if messages[-1]["role"] != "assistant":
        raise _BadRow("the last message must be the assistant's, for that is what is learnt")
    return messages


def _check_message(message: Any) -> None:
    if not isinstance(message, dict) or "role" not in message:
        raise _BadRow("each message must be an object with role and content")
    if message["role"] not in _ROLES:
        raise _BadRow(f"unknown role {message['role']!r}, expected one of {', '.join(_ROLES)}")
    content = message.get("content")
    if content is None and message.get("tool_calls"):
        return
    if not isinstance(content, str):
        raise _BadRow(f"the content of a {message['role']} message must be a text")
    if message["role"] == "assistant" and not content.strip() and not message.get("tool_calls"):
        raise _BadRow("an assistant message is empty")


def _message(role: str, content: str) -> Message:
    return {"role": role, "content": content}


def _system(row: Mapping[str, Any]) -> list[Message]:
    text = _text(row, "system", may_be_empty=True)
    return [_message("system", text)] if text else []


def _text(row: Mapping[str, Any], column: str, *, may_be_empty: bool = False) -> str:
    value = row.get(column)
    if may_be_empty and value in (None, ""):
        return ""
    if not isinstance(value, str):
        raise _BadRow(f"{column} must be a text, not {type(value).__name__}")
    if not may_be_empty and not value.strip():
        raise _BadRow(f"{column} is empty")
    return value


FORMATS: Final = (
    DatasetFormat("messages", frozenset({"messages"}), frozenset({"tools"}), _read_messages),
    DatasetFormat("sharegpt", frozenset({"conversations"}), frozenset({"system", "tools"}), _read_sharegpt),
    DatasetFormat(
        "prompt/completion",
        frozenset({"prompt", "completion"}),
        frozenset({"system", "tools"}),
        _read_prompt_completion,
    ),
    DatasetFormat(
        "alpaca", frozenset({"instruction", "output"}), frozenset({"input", "system", "history"}), _read_alpaca
    ),
    DatasetFormat("text", frozenset({"text"}), frozenset(), _read_text),
)

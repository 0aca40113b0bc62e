"""Recognising dataset formats and reading their rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peft_studio.errors import InvalidConfig
from peft_studio_worker.training.datasets import Row
from peft_studio_worker.training.formats import Record, read_records, unused_columns

FILE = Path("data.jsonl")
CHAT = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]


def read(*values: dict[str, Any]) -> tuple[list[Record], str]:
    """The records of these rows, and the name of their format."""
    records, chosen = read_records([Row(line, value) for line, value in enumerate(values, start=1)], FILE)
    return records, chosen.name


def complaint(*values: dict[str, Any]) -> str:
    """The sentence for rows that cannot be used."""
    with pytest.raises(InvalidConfig) as caught:
        read(*values)
    return str(caught.value)


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ({"messages": CHAT}, "messages"),
        ({"conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}, "sharegpt"),
        ({"prompt": "Q", "completion": "A"}, "prompt/completion"),
        ({"prompt": CHAT[:1], "completion": CHAT[1:]}, "prompt/completion"),
        ({"instruction": "Q", "input": "", "output": "A"}, "alpaca"),
        ({"instruction": "Q", "output": "A"}, "alpaca"),
    ],
)
def test_conversational_formats_become_one_chat(row: dict[str, Any], name: str) -> None:
    """Whatever the columns are called, the same question and answer come out."""
    assert ([Record(1, messages=CHAT)], name) == read(row)


def test_text_format() -> None:
    """A text stays a text."""
    assert ([Record(1, text="once upon a time")], "text") == read({"text": "once upon a time"})


def test_alpaca_with_everything() -> None:
    """Input follows the instruction; system and history come before."""
    row = {
        "instruction": "Add",
        "input": "1 and 2",
        "output": "3",
        "system": "You add",
        "history": [["Hello", "Hi"]],
    }

    [record], _ = read(row)

    assert [
        ("system", "You add"),
        ("user", "Hello"),
        ("assistant", "Hi"),
        ("user", "Add\n1 and 2"),
        ("assistant", "3"),
    ] == [(message["role"], message["content"]) for message in record.messages or []]


def test_tools_reach_the_template() -> None:
    """Function descriptions beside the messages are kept."""
    assert [{"name": "f"}] == read({"messages": CHAT, "tools": [{"name": "f"}]})[0][0].tools


def test_unknown_columns() -> None:
    """A file of no known format is told what it has and what would be understood."""
    assert "its columns are question, answer" in complaint({"question": "Q", "answer": "A"})


def test_unused_columns_are_known() -> None:
    """Columns beside the format's are found, so that the log can name them."""
    rows = [
        Row(1, {"prompt": "Q", "completion": "A", "source": "x"}),
        Row(2, {"prompt": "Q", "completion": "A", "b": 1}),
    ]

    assert ["b", "source"] == unused_columns(rows, read_records(rows, FILE)[1])


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"completion": "A"}, "prompt is missing"),
        ({"prompt": "", "completion": "A"}, "prompt is empty"),
        ({"prompt": "Q", "completion": "  "}, "completion is empty"),
        ({"prompt": 7, "completion": "A"}, "prompt must be a text, not int"),
        ({"prompt": None, "completion": "A"}, "prompt must be a text, not NoneType"),
    ],
)
def test_bad_pairs(row: dict[str, Any], why: str) -> None:
    """Each fault has its line and its reason; the good row does not hide it."""
    assert f"line 2: {why}" in complaint({"prompt": "Q", "completion": "A"}, row)


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([], "messages must be a list of messages"),
        ("hello", "messages must be a list of messages"),
        ([{"content": "Q"}], "each message must be an object with role and content"),
        (["Q"], "each message must be an object with role and content"),
        ([{"role": "robot", "content": "Q"}], "unknown role 'robot'"),
        ([{"role": "user", "content": ["Q"]}], "the content of a user message must be a text"),
        ([{"role": "user", "content": "Q"}, {"role": "assistant", "content": " "}], "an assistant message is empty"),
        ([{"role": "user", "content": "Q"}], "the last message must be the assistant's"),
    ],
)
def test_bad_conversations(messages: Any, why: str) -> None:
    """What is no conversation is told, and why."""
    assert f"line 1: {why}" in complaint({"messages": messages})


def test_bad_sharegpt() -> None:
    """Speakers must be known ones."""
    assert "unknown speaker 'alien'" in complaint({"conversations": [{"from": "alien", "value": "x"}]})
    assert "unknown speaker ['human']" in complaint({"conversations": [{"from": ["human"], "value": "x"}]})


def test_bad_history() -> None:
    """History must be pairs."""
    assert "history must be a list of" in complaint({"instruction": "Q", "output": "A", "history": [["one"]]})

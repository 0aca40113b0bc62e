"""Reading dataset files: what is understood, and how each fault is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from peft_studio.errors import InvalidConfig
from peft_studio_worker.training.datasets import read_rows

ROWS = [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}]


def test_json_lines_know_their_lines(tmp_path: Path) -> None:
    """Blank lines are no rows, but they count."""
    path = tmp_path / "d.jsonl"
    path.write_text(f"{json.dumps(ROWS[0])}\n\n{json.dumps(ROWS[1])}\n", encoding="utf-8")

    assert [(1, ROWS[0]), (3, ROWS[1])] == [(row.line, row.values) for row in read_rows(path)]


def test_json_lists_know_their_lines(tmp_path: Path) -> None:
    """Each element of a JSON list stands on the line it starts on."""
    path = tmp_path / "d.json"
    path.write_text(json.dumps(ROWS, indent=1), encoding="utf-8")

    assert [(2, ROWS[0]), (6, ROWS[1])] == [(row.line, row.values) for row in read_rows(path)]


def test_csv_with_quotes_and_line_breaks(tmp_path: Path) -> None:
    """A quoted cell may hold commas and line breaks; the next row still knows its line."""
    path = tmp_path / "d.csv"
    path.write_text('prompt,completion\n"a, b","1\n2"\nc,d\n', encoding="utf-8")

    rows = read_rows(path)

    assert [(2, {"prompt": "a, b", "completion": "1\n2"}), (4, ROWS[1])] == [(row.line, row.values) for row in rows]


def test_parquet(tmp_path: Path) -> None:
    """Rows of a Parquet file are numbered."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "d.parquet")

    assert [(1, ROWS[0]), (2, ROWS[1])] == [(row.line, row.values) for row in read_rows(tmp_path / "d.parquet")]


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    """Files as Windows editors save them are read like others."""
    path = tmp_path / "d.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(ROWS[0]).encode() + b"\r\n")

    assert ROWS[0] == read_rows(path)[0].values


def refusal(path: Path) -> str:
    """The sentence for a file that cannot be used; there is always something to do about it."""
    with pytest.raises(InvalidConfig) as caught:
        read_rows(path)
    assert caught.value.remedy
    return str(caught.value).replace(f"{path}", "FILE")


def write(path: Path, content: bytes | str) -> Path:
    """A file with this content."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_missing_file(tmp_path: Path) -> None:
    """The path is named."""
    assert refusal(tmp_path / "no.jsonl") == "dataset FILE does not exist"


def test_folder_instead_of_a_file(tmp_path: Path) -> None:
    """A folder is not taken for a dataset."""
    assert refusal(tmp_path) == "dataset FILE is not a file"


def test_unknown_type(tmp_path: Path) -> None:
    """A suffix that is not read is refused, whatever is inside."""
    assert refusal(write(tmp_path / "d.txt", "{}")) == "dataset FILE has an unknown type"


@pytest.mark.parametrize(
    ("name", "content"), [("d.jsonl", ""), ("d.jsonl", "\n \n"), ("d.json", "[]"), ("d.json", ""), ("d.csv", "a,b\n")]
)
def test_empty_files(tmp_path: Path, name: str, content: str) -> None:
    """No row is a fault of its own."""
    assert refusal(write(tmp_path / name, content)) == "dataset FILE is empty"


def test_torn_last_line(tmp_path: Path) -> None:
    """A line that breaks off at the end of the file is told as such."""
    path = write(tmp_path / "d.jsonl", json.dumps(ROWS[0]) + '\n{"prompt": "c", "compl')

    assert refusal(path) == "dataset FILE has 1 bad row: line 2: the line is cut off in the middle"


def test_torn_json_list(tmp_path: Path) -> None:
    """A list that breaks off is told with the line."""
    assert "line 3: not JSON" in refusal(write(tmp_path / "d.json", '[\n{"a": 1},\n{"a": '))
    assert "line 2: not JSON: the list is cut off" in refusal(write(tmp_path / "d.json", '[\n{"a": 1}'))


def test_every_bad_line_is_reported(tmp_path: Path) -> None:
    """All faults come at once; the message shows ten and the number of the rest."""
    path = write(tmp_path / "d.jsonl", "".join(f"{json.dumps(ROWS[0])}\nnot json\n" for _ in range(12)))

    with pytest.raises(InvalidConfig) as caught:
        read_rows(path)

    assert [2 * number for number in range(1, 13)] == [problem.line for problem in caught.value.problems]
    assert "has 12 bad rows" in str(caught.value)
    assert "line 20: not JSON" in str(caught.value)
    assert str(caught.value).endswith("and 2 more")


def test_rows_that_are_no_objects(tmp_path: Path) -> None:
    """Numbers and lists are not rows."""
    assert "line 2: must be an object, not 3" in refusal(write(tmp_path / "d.jsonl", '{"a": 1}\n3\n'))
    assert "line 1: must be an object, not a list" in refusal(write(tmp_path / "d.json", "[[1]]"))


def test_json_object_instead_of_a_list(tmp_path: Path) -> None:
    """A .json file must be one list; JSON Lines have another suffix."""
    assert "one object per line is .jsonl" in refusal(write(tmp_path / "d.json", '{"a": 1}\n{"a": 2}'))


def test_csv_with_a_cell_too_many(tmp_path: Path) -> None:
    """A row that does not fit the header is told, not filled up."""
    assert "line 3: 3 cells, but the header has 2" in refusal(write(tmp_path / "d.csv", "a,b\n1,2\n1,2,3\n"))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le-with-mark"])
def test_utf_16(tmp_path: Path, encoding: str) -> None:
    """UTF-16 is recognised by its first bytes."""
    content = b"\xff\xfe" + "{}".encode("utf-16-le") if encoding.endswith("mark") else "{}".encode(encoding)

    assert refusal(write(tmp_path / "d.jsonl", content)) == "dataset FILE is UTF-16"


def test_latin_1(tmp_path: Path) -> None:
    """A byte that is not UTF-8 is told with its line."""
    content = b'{"text": "ok"}\n{"text": "caf\xe9 au lait"}\n'

    assert refusal(write(tmp_path / "d.jsonl", content)) == "dataset FILE is not UTF-8: line 2 has the byte 0xe9"


def test_a_file_that_only_calls_itself_parquet(tmp_path: Path) -> None:
    """The complaint of pyarrow becomes ours."""
    pytest.importorskip("pyarrow")
    with pytest.raises(InvalidConfig, match="cannot be read"):
        read_rows(write(tmp_path / "d.parquet", "no parquet"))

"""Config files: three formats, and every fault with its place."""

import json

import pytest

from peft_studio import InvalidConfig, load_config
from peft_studio.config import parse_override

TOML = """# a job
base_model = "model"
dataset_path = "data.jsonl"
rank = 8
learning_rate = 2e-4
target_modules = ["q_proj"]
"""
YAML = """# a job
base_model: model
dataset_path: data.jsonl
rank: 8
learning_rate: 2e-4
target_modules: [q_proj]
"""
JSON = """{
  "base_model": "model",
  "dataset_path": "data.jsonl",
  "rank": 8,
  "learning_rate": 2e-4,
  "target_modules": ["q_proj"]
}
"""
FORMATS = {"toml": TOML, "yaml": YAML, "json": JSON}


def write(folder, name, content):
    """A config file in `folder`."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("kind", FORMATS)
def test_formats_agree(tmp_path, kind):
    """The same job in TOML, YAML and JSON is the same config; its paths start at the file's folder."""
    config = load_config(write(tmp_path, f"job.{kind}", FORMATS[kind]))

    assert (8, 2e-4, ("q_proj",)) == (config.rank, config.learning_rate, config.target_modules)
    assert str(tmp_path / "data.jsonl") == config.dataset_path


@pytest.mark.parametrize("kind", FORMATS)
def test_place_of_a_fault(tmp_path, kind):
    """A fault names file and line, whatever the format."""
    path = write(tmp_path, f"job.{kind}", FORMATS[kind].replace("rank", "rnak"))

    with pytest.raises(InvalidConfig) as caught:
        load_config(path)

    assert f"{path}: line 4: unknown key 'rnak' (did you mean 'rank'?)" == str(caught.value.problems[0])


def test_place_in_one_line(tmp_path):
    """JSON as programs write it has a line too."""
    path = write(tmp_path, "job.json", '{"base_model": "m", "dataset_path": "d", "rnak": 8}')

    with pytest.raises(InvalidConfig) as caught:
        load_config(path)

    assert 1 == caught.value.problems[0].line


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("job.toml", "rank = ", "not valid TOML: Invalid value (at end of document)"),
        ("job.toml", 'rank = 1\nrank = 2\nbase_model = "x"', "not valid TOML: Cannot overwrite a value (at line 2"),
        ("job.yaml", "rank: 1\n  x: 2", "line 2: not valid YAML: mapping values are not allowed here"),
        ("job.yaml", "rank: 1\nrank: 2", "line 2: not valid YAML: 'rank' is given twice"),
        ("job.yaml", "- 1\n", "a config is a table of names and values, not a list"),
        ("job.yaml", "", "a config is a table of names and values, not a NoneType"),
        ("job.json", '{"rank": 1,}', "line 1: not valid JSON"),
        ("job.json", '{"rank": 1, "rank": 2}', "'rank' is given twice"),
        ("job.txt", "rank = 1", "a config is a .toml, .yaml or .json file"),
        ("job.toml", b'base_model = "m"\nproject_name = "caf\xe9"', "line 2: not UTF-8"),
    ],
)
def test_unreadable(tmp_path, name, content, sentence):
    """A file that cannot be read is refused in one sentence with its name."""
    path = write(tmp_path, name, content)

    with pytest.raises(InvalidConfig) as caught:
        load_config(path)

    assert str(caught.value).startswith(f"{path}: {sentence}")


def test_missing_file(tmp_path):
    """A file that is not there is named."""
    with pytest.raises(InvalidConfig, match=r"config file .*absent\.toml does not exist"):
        load_config(tmp_path / "absent.toml")


def test_byte_order_mark(tmp_path):
    """A byte order mark, as some editors write it, is no fault."""
    assert 8 == load_config(write(tmp_path, "job.json", b"\xef\xbb\xbf" + JSON.encode())).rank


def test_python_in_yaml(tmp_path):
    """YAML never makes Python objects."""
    path = write(tmp_path, "job.yaml", 'base_model: !!python/object/apply:os.system ["true"]')

    with pytest.raises(InvalidConfig, match="could not determine a constructor"):
        load_config(path)


def test_overrides(tmp_path):
    """Overrides win, and their faults are not blamed on a line of the file."""
    path = write(tmp_path, "job.toml", TOML)

    assert 16 == load_config(path, {"rank": 16}).rank
    with pytest.raises(InvalidConfig) as caught:
        load_config(path, {"rank": 0})
    assert "rank must be at least 1, not 0" == str(caught.value.problems[0])


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("rank=16", ("rank", 16)),
        ("learning_rate=2e-4", ("learning_rate", 2e-4)),
        ("packing=true", ("packing", True)),
        ('target_modules=["q_proj", "v_proj"]', ("target_modules", ["q_proj", "v_proj"])),
        ("base_model=org/name", ("base_model", "org/name")),
        ("project_name=a=b", ("project_name", "a=b")),
    ],
)
def test_parse_override(assignment, expected):
    """The value of --set is read as TOML where it can be, else as text."""
    assert expected == parse_override(assignment)


def test_parse_override_without_value():
    """An assignment without = is told how to be written."""
    with pytest.raises(InvalidConfig, match="--set takes NAME=VALUE, not 'rank'"):
        parse_override("rank")


def test_json_is_written_as_read(tmp_path):
    """What `to_dict` gives can be a config file."""
    config = load_config(write(tmp_path, "job.toml", TOML))

    assert config == load_config(write(tmp_path, "again.json", json.dumps(config.to_dict())))

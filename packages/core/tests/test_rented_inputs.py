"""What a job takes along to a rented machine, found and checked before anything is paid for."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from peft_studio import InvalidConfig, TrainingConfig
from peft_studio.rented import inputs_of
from peft_studio.rented.inputs import check_inputs
from peft_studio.rented.machine import worker_token
from peft_studio.rented.worker import PIECE, _next_piece


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """One example."""
    path = tmp_path / "facts.jsonl"
    path.write_text('{"text": "ünïcödé"}\n', encoding="utf-8")
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with what a model is made of, and with what is not."""
    folder = tmp_path / "my-model"
    folder.mkdir()
    for name in (
        "config.json",
        "model.safetensors",
        "tokenizer.model",
        "pytorch_model.bin",
        "train.py",
        ".secret.json",
    ):
        (folder / name).write_text(name)
    return folder


def config(dataset: Path, base_model: str | Path = "someone/model", **settings) -> TrainingConfig:
    """A job with that data."""
    return TrainingConfig(base_model=str(base_model), dataset_path=str(dataset), **settings)


def test_a_dataset_travels_under_its_content(dataset):
    """The config there names it so, and knows nothing of folders here."""
    there, (only,) = inputs_of(config(dataset, output_dir="~/adapters"))
    digest = hashlib.sha256(dataset.read_bytes()).hexdigest()
    assert (f"inputs/{digest}.jsonl", None, "someone/model") == (there.dataset_path, there.output_dir, there.base_model)
    assert {"sha256": digest, "size": dataset.stat().st_size, "suffix": ".jsonl"} == only.to_dict()


def test_a_model_folder_comes_along(dataset, model):
    """Weights, config and tokenizer; neither pickles nor code nor hidden files. Its name is the same there."""
    there, (_, *files) = inputs_of(config(dataset, model))
    assert "inputs/model/my-model" == there.base_model
    places = [f"model/my-model/{name}" for name in ("config.json", "model.safetensors", "tokenizer.model")]
    assert places == [each.to_dict()["place"] for each in files]
    check_inputs(config(dataset, model))


def test_a_gguf_file_comes_along(dataset, tmp_path):
    """As one file under its own name."""
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF")
    there, (_, file) = inputs_of(config(dataset, tmp_path / "tiny.gguf"))
    assert ("inputs/model/tiny.gguf", "model/tiny.gguf") == (there.base_model, file.place)


def test_a_name_on_a_hub_is_fetched_there(dataset, tmp_path, monkeypatch):
    """Also when a folder of that name lies here, once the user says so."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "someone" / "model").mkdir(parents=True)
    there, files = inputs_of(config(dataset, model_source="huggingface"))
    assert ("someone/model", 1) == (there.base_model, len(files))


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"dataset_path": "/nowhere.jsonl"}, "dataset_path", "/nowhere.jsonl is not a file of this machine"),
        ({"base_model": "./nowhere"}, "base_model", "nowhere is not on this machine"),
        ({"base_model": "nowhere.gguf", "model_source": "gguf"}, "base_model", "nowhere.gguf is not on this machine"),
    ],
)
def test_what_is_missing_is_told_before_it_costs(dataset, change, field, words):
    """By the name of the field."""
    values = {"base_model": "someone/model", "dataset_path": str(dataset), **change}
    with pytest.raises(InvalidConfig, match=words) as refusal:
        check_inputs(TrainingConfig(**values))
    assert [field] == [problem.field for problem in refusal.value.problems]


def test_a_folder_that_is_no_model_is_refused(dataset, tmp_path):
    """Pickled weights alone are none."""
    (tmp_path / "pickles").mkdir()
    (tmp_path / "pickles" / "config.json").write_text("{}")
    (tmp_path / "pickles" / "pytorch_model.bin").write_text("")
    with pytest.raises(InvalidConfig, match=r"pickles has no config\.json and safetensors weights"):
        check_inputs(config(dataset, tmp_path / "pickles"))


def test_each_job_has_a_token_of_its_own():
    """The same for whoever has the account, and fit for the worker; of another account or job it is another."""
    token = worker_token("rpa_secret", "ps-one")
    assert token == worker_token("rpa_secret", "ps-one")
    assert 3 == len({token, worker_token("rpa_secret", "ps-two"), worker_token("rpa_other", "ps-one")})
    assert len(token) >= 32
    assert "rpa_secret" not in token


@pytest.mark.parametrize(
    ("seconds", "is_through", "expected"),
    [(1, True, 2 * PIECE), (10, True, PIECE), (30, True, PIECE // 2), (1, False, PIECE // 2)],
)
def test_pieces_suit_the_line(seconds, is_through, expected):
    """A request ends long before a platform's proxy cuts it off, and a quick line has few of them."""
    assert expected == _next_piece(PIECE, seconds, is_through=is_through)


def test_pieces_have_bounds():
    """However quick or slow the line."""
    piece = PIECE
    for _ in range(20):
        piece = _next_piece(piece, 0.1, is_through=True)
    assert 64 * 2**20 == piece
    for _ in range(20):
        piece = _next_piece(piece, 99, is_through=True)
    assert 2**18 == piece

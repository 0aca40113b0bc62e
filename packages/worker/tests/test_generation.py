"""Asking a model, with and without an adapter."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from peft_studio.errors import InvalidConfig
from peft_studio_worker.generation import Generator, base_model_of
from peft_studio_worker.training.session import train_job

QUESTIONS = ["What is the mayor of Tarnwick?", "River?", "What is the bridge of the other Thorpwick, please?"]


def nothing(kind: str, /, **fields: object) -> None:
    """A report that nobody reads."""


@pytest.fixture(scope="module")
def adapter(tmp_path_factory, tiny_model, facts_file) -> Path:
    """A trained adapter of the tiny model."""
    folder: Path = tmp_path_factory.mktemp("trained")
    config = {
        "base_model": str(tiny_model), "dataset_path": str(facts_file), "learning_rate": 0.02, "num_epochs": 4,
        "dtype": "float32", "batch_size": 8,
    }  # fmt: skip
    (folder / "job.json").write_text(json.dumps({"id": "x", "config": config}))
    assert train_job(folder, nothing, threading.Event())
    return folder / "artifact"


def test_answers_do_not_depend_on_their_neighbours(tiny_model, adapter) -> None:
    """Questions of unequal length in one batch are answered as if each were alone."""
    generator = Generator.load(str(tiny_model), adapter, dtype="float32")

    together = list(generator.answer(QUESTIONS, max_new_tokens=8))

    assert together == [next(generator.answer([question], max_new_tokens=8)) for question in QUESTIONS]


def test_the_adapter_makes_a_difference(tiny_model, adapter) -> None:
    """With it the model answers otherwise than without."""
    base = Generator.load(str(tiny_model), dtype="float32")
    adapted = Generator.load(str(tiny_model), adapter, dtype="float32")

    answers = [list(generator.answer(QUESTIONS, max_new_tokens=8)) for generator in (base, adapted)]

    assert answers[0] != answers[1]


def test_more_questions_than_a_batch_keep_their_order(tiny_model) -> None:
    """Twenty questions give twenty answers, each to its own question."""
    generator = Generator.load(str(tiny_model), dtype="float32")
    questions = [f"{QUESTIONS[number % 3]} {number}" for number in range(20)]

    answers = list(generator.answer(questions, max_new_tokens=3))

    assert 20 == len(answers)
    assert answers[17] == next(generator.answer([questions[17]], max_new_tokens=3))


def test_a_chat_streams_the_answer(tiny_model) -> None:
    """The pieces put together are the answer."""
    generator = Generator.load(str(tiny_model), dtype="float32")

    pieces = list(generator.chat([{"role": "user", "content": QUESTIONS[0]}], max_new_tokens=8))

    assert "".join(pieces).strip() == next(generator.answer(QUESTIONS[:1], max_new_tokens=8))
    assert 1 < len(pieces)


def test_a_chat_that_fails_raises(tiny_model) -> None:
    """What goes wrong in the generating thread reaches the one who asked."""
    generator = Generator.load(str(tiny_model), dtype="float32")

    with pytest.raises(ValueError, match="max_new_tokens"):
        list(generator.chat([{"role": "user", "content": "x"}], max_new_tokens=-1))


def test_the_base_model_of_an_adapter(tiny_model, adapter, tmp_path) -> None:
    """It is found where it lies on this machine; elsewhere its name is all there is."""
    assert str(tiny_model) == base_model_of(adapter)

    moved = Path(shutil.copytree(adapter, tmp_path / "moved"))
    (moved / "peft_studio.json").unlink()
    assert "tiny-llama" == base_model_of(moved)


def test_a_folder_that_is_no_adapter(tiny_model, tmp_path) -> None:
    """The missing file is named."""
    with pytest.raises(InvalidConfig, match=r"is not an adapter folder: it has no adapter_config\.json"):
        Generator.load(str(tiny_model), tmp_path)


def test_an_adapter_of_another_model(make_model, adapter, tmp_path) -> None:
    """An adapter that does not fit is one sentence."""
    other = make_model(tmp_path / "other", hidden_size=32)

    with pytest.raises(InvalidConfig, match="does not fit this base model"):
        Generator.load(str(other), adapter)


def worker(*arguments: object, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command of the worker."""
    command = [sys.executable, "-m", "peft_studio_worker", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)


def test_answer_command(tiny_model, adapter, tmp_path) -> None:
    """One JSON line for each question, in their order, and nothing else on stdout."""
    file = tmp_path / "questions.jsonl"
    file.write_text("".join(json.dumps({"question": question}) + "\n" for question in QUESTIONS))

    done = worker(
        "answer", "--base-model", tiny_model, "--adapter", adapter, "--questions", file, "--max-new-tokens", 4
    )

    assert QUESTIONS == [json.loads(line)["question"] for line in done.stdout.splitlines()]
    assert 0 == done.returncode


def test_chat_command(tiny_model, adapter) -> None:
    """The adapter tells its base model; questions come from stdin until it ends, and earlier turns are remembered."""
    generator = Generator.load(str(tiny_model), adapter)
    messages = [{"role": "user", "content": "Hello?"}]
    first = "".join(generator.chat(messages, max_new_tokens=4))
    messages += [{"role": "assistant", "content": first}, {"role": "user", "content": "And now?"}]
    second = "".join(generator.chat(messages, max_new_tokens=4))

    done = worker("chat", adapter, "--max-new-tokens", 4, stdin="Hello?\n\nAnd now?\n")

    assert f"{first}\n{second}\n" == done.stdout
    assert 0 == done.returncode


def test_chat_with_what_is_no_adapter(tmp_path) -> None:
    """One sentence on stderr, and the exit code of a config that cannot be used."""
    done = worker("chat", tmp_path, "--prompt", "Hello?")

    assert (3, "") == (done.returncode, done.stdout)
    assert f"{tmp_path} is not an adapter folder: it has no adapter_config.json\n" == done.stderr

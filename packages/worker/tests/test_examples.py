"""From records to tokens: what is learnt, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from peft_studio.errors import InvalidConfig
from peft_studio_worker.training.examples import PLAIN_TEMPLATE, Example, split, tokenise
from peft_studio_worker.training.formats import Record

FILE = Path("data.jsonl")
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "First?"},
    {"role": "assistant", "content": "One."},
    {"role": "user", "content": "Second?"},
    {"role": "assistant", "content": "Two."},
]


@pytest.fixture(scope="module")
def tokenizer(make_tokenizer) -> Any:
    """A tiny tokenizer with a chat template."""
    return make_tokenizer()


def learnt(example: Example, tokenizer: Any) -> str:
    """What is learnt of it, as text."""
    return tokenizer.decode([example.ids[position] for position in example.targets])


def make(records: list[Record], tokenizer: Any, **options: Any) -> list[Example]:
    """The records as examples."""
    return tokenise(records, tokenizer, FILE, **{"max_length": 500, "completion_only": True} | options)


def test_only_the_assistant_is_learnt_in_every_turn(tokenizer) -> None:
    """Both answers of a conversation are learnt with their ends, and nothing else."""
    [example] = make([Record(1, messages=CHAT)], tokenizer)

    assert learnt(example, tokenizer) == "One.<|im_end|>\nTwo.<|im_end|>\n"


def test_everything_is_learnt_on_request(tokenizer) -> None:
    """Without completion-only loss every token but the first is learnt."""
    [example] = make([Record(1, messages=CHAT)], tokenizer, completion_only=False)

    assert tuple(range(1, len(example.ids))) == example.targets


def test_texts_are_learnt_whole_with_their_end(tokenizer) -> None:
    """A plain text is learnt from its second token to the end-of-text token."""
    [example] = make([Record(1, text="What is the mayor?")], tokenizer)

    assert tokenizer.eos_token_id == example.ids[-1]
    assert tuple(range(1, len(example.ids))) == example.targets


def test_the_tokens_are_those_of_the_template(tokenizer) -> None:
    """The ids are what the tokenizer itself gives for the whole conversation."""
    [example] = make([Record(1, messages=CHAT)], tokenizer)

    assert tokenizer.apply_chat_template(CHAT)["input_ids"] == list(example.ids)


def test_a_template_that_rewrites_the_past_gives_one_example_per_turn(make_tokenizer) -> None:
    """Where earlier answers change once more follows, each answer is learnt in the form it was asked for."""
    tokenizer = make_tokenizer(
        "{% for m in messages %}{{ m.role }}:{% if m.role == 'assistant' and loop.last %}(thinking){% endif %}"
        "{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    )

    first, second = make([Record(1, messages=CHAT)], tokenizer)

    assert learnt(first, tokenizer) == "(thinking)One.\n"
    assert learnt(second, tokenizer) == "(thinking)Two.\n"
    assert "assistant:One." in tokenizer.decode(second.ids)


def test_the_plain_template_for_base_models(make_tokenizer) -> None:
    """Without a chat template of its own, a model learns a plain one with the same rule."""
    tokenizer = make_tokenizer(PLAIN_TEMPLATE)

    [example] = make([Record(1, messages=CHAT)], tokenizer)

    assert tokenizer.decode(example.ids) == (
        "Be brief.\nUser:\nFirst?\nAssistant:\nOne.<|im_end|>\nUser:\nSecond?\nAssistant:\nTwo.<|im_end|>\n"
    )
    assert learnt(example, tokenizer) == "One.<|im_end|>\nTwo.<|im_end|>\n"


def test_examples_that_are_too_long_are_refused_by_line(tokenizer) -> None:
    """Nothing is cut off in silence: the lines are told, and the length that would do."""
    records = [Record(1, text="a"), Record(2, text="mayor " * 40), Record(3, text="river " * 60)]

    with pytest.raises(InvalidConfig) as caught:
        make(records, tokenizer, max_length=20)

    lengths = [len(example.ids) for example in make(records, tokenizer)]
    assert [2, 3] == [problem.line for problem in caught.value.problems]
    assert f"line 2: {lengths[1]} tokens are more than max_seq_length 20" in str(caught.value)
    assert caught.value.remedy == f"shorten them, or set max_seq_length to {lengths[2]} (it is 20)"


def test_what_a_template_refuses_is_told_by_line(make_tokenizer) -> None:
    """A template's own complaint comes with the line of the row."""
    tokenizer = make_tokenizer(
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system please') }}{% endif %}"
        "{% for m in messages %}{{ m.content }}{% endfor %}"
    )

    with pytest.raises(InvalidConfig, match="line 7: the chat template refuses it: no system please"):
        make([Record(7, messages=CHAT)], tokenizer)


def examples(count: int) -> list[Example]:
    """So many examples that differ."""
    return [Example(line, (line, line), (1,)) for line in range(count)]


def test_the_split_depends_on_the_seed_alone() -> None:
    """The same seed keeps back the same examples; another one others; together they are all."""
    training, validation = split(examples(20), 0.25, seed=1)

    assert (training, validation) == split(examples(20), 0.25, seed=1)
    assert (training, validation) != split(examples(20), 0.25, seed=2)
    assert (15, 5) == (len(training), len(validation))
    assert examples(20) == sorted(training + validation, key=lambda example: example.line)


def test_a_split_that_leaves_nothing_is_refused() -> None:
    """Two examples cannot give 90 % away and still train."""
    with pytest.raises(InvalidConfig, match="leaves none to train on"):
        split(examples(2), 0.9, seed=1)


def test_a_small_split_keeps_one_back() -> None:
    """A share that rounds to nothing still validates on one example."""
    assert len(split(examples(3), 0.01, seed=1)[1]) == 1

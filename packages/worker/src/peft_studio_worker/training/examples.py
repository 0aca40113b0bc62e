"""From records to token ids, with the positions whose token is learnt.

A conversation is rendered whole by the tokenizer's chat template and tokenised once; what the template adds for an
assistant message is learnt, and nothing else. A template that rewrites earlier turns (Qwen3 drops old reasoning) gives
one example per assistant turn instead, so that each is learnt just as it will be asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

from attrs import frozen
from jinja2 import TemplateError

from peft_studio.errors import InvalidConfig
from peft_studio.models import Problem
from peft_studio_worker.training.datasets import bad_rows
from peft_studio_worker.training.formats import Message, Record

#: For tokenizers without a chat template (base models); it is saved with the adapter, so that chats look the same.
PLAIN_TEMPLATE: Final = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message.role == 'assistant' %}Assistant:\n{{ message.content }}{{ eos_token }}\n"
    "{% elif message.role == 'user' %}User:\n{{ message.content }}\n"
    "{% else %}{{ message.content }}\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}Assistant:\n{% endif %}"
)


@frozen
class Example:
    """One tokenised example. `targets` are the positions whose token is learnt, from the one before it."""

    line: int
    ids: tuple[int, ...]
    targets: tuple[int, ...]


@frozen
class _Rendered:
    """A text, and the stretches of it that are learnt, as (start, end) in characters."""

    line: int
    text: str
    learnt: tuple[tuple[int, int], ...]


def tokenise(
    records: Sequence[Record], tokenizer: Any, path: Path, *, max_length: int, completion_only: bool
) -> list[Example]:
    """Every record as one example or more. Raises `InvalidConfig` that names each one that is too long or unusable."""
    rendered, problems = _render_all(records, tokenizer, path)
    if problems:
        raise bad_rows(path, problems)
    examples = [_example(item, tokenizer, completion_only=completion_only) for item in rendered]
    problems = [
        Problem(message=message, line=example.line, file=path)
        for example in examples
        if (message := _complaint(example, max_length))
    ]
    if any(len(example.ids) > max_length for example in examples):
        longest = max(len(example.ids) for example in examples)
        error = bad_rows(path, problems)
        error.remedy = f"shorten them, or set max_seq_length to {longest} (it is {max_length})"
        raise error
    if problems:
        raise bad_rows(path, problems)
    return examples


def split(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Training and validation examples; which are kept back depends on the seed alone. Neither may end up empty."""
    if share == 0:
        return list(examples), []
    count = max(1, round(len(examples) * share))
    if count >= len(examples):
        raise InvalidConfig(
            f"validation_split {share:g} of {len(examples)} examples leaves none to train on",
            remedy="lower validation_split or add data",
        )
    kept_back = set(Random(f"validation {seed}").sample(range(len(examples)), count))  # noqa: S311 -- no secret
    training = [example for index, example in enumerate(examples) if index not in kept_back]
    return training, [examples[index] for index in sorted(kept_back)]


def _complaint(example: Example, max_length: int) -> str | None:
    if len(example.ids) > max_length:
        return f"{len(example.ids)} tokens are more than max_seq_length {max_length}"
    return None if example.targets else "nothing in it can be learnt"


def _render_all(records: Sequence[Record], tokenizer: Any, path: Path) -> tuple[list[_Rendered], list[Problem]]:
    rendered: list[_Rendered] = []
    problems = []
    for record in records:
        try:
            rendered += _render(record, tokenizer)
        except (TemplateError, ValueError, TypeError) as error:
            message = f"the chat template refuses it: {error}"
            problems.append(Problem(message=message, line=record.line, file=path))
    return rendered, problems


def _render(record: Record, tokenizer: Any) -> list[_Rendered]:
    if record.text is not None:
        bos = tokenizer.bos_token if getattr(tokenizer, "add_bos_token", False) and tokenizer.bos_token else ""
        text = f"{bos}{record.text}{tokenizer.eos_token or ''}"
        return [_Rendered(record.line, text, ((0, len(text)),))]
    turns = list(_turns(record, tokenizer))
    whole = turns[-1].text
    learnt = tuple(turn.learnt[0] for turn in turns)
    if all(whole.startswith(turn.text) for turn in turns):
        return [_Rendered(record.line, whole, learnt)]
    return turns


def _turns(record: Record, tokenizer: Any) -> Iterator[_Rendered]:
    """The conversation up to each assistant message, with that message as what is learnt."""
    assert record.messages is not None
    for index, message in enumerate(record.messages):
        if message["role"] != "assistant":
            continue
        prompt = _apply(tokenizer, record.messages[:index], record.tools, add_generation_prompt=True)
        text = _apply(tokenizer, record.messages[: index + 1], record.tools, add_generation_prompt=False)
        if not text.startswith(prompt):  # a template without a generation prompt of its own
            prompt = _apply(tokenizer, record.messages[:index], record.tools, add_generation_prompt=False)
        if not text.startswith(prompt):
            raise ValueError("the question does not stay as it is once it is answered")
        yield _Rendered(record.line, text, ((len(prompt), len(text)),))


def _apply(tokenizer: Any, messages: list[Message], tools: list[Any] | None, *, add_generation_prompt: bool) -> str:
    text = tokenizer.apply_chat_template(
        messages, tools=tools, tokenize=False, add_generation_prompt=add_generation_prompt
    )
    assert isinstance(text, str)
    return text


def _example(item: _Rendered, tokenizer: Any, *, completion_only: bool) -> Example:
    encoded = tokenizer(item.text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids, offsets = encoded["input_ids"], encoded["offset_mapping"]
    learnt = item.learnt if completion_only else ((0, len(item.text)),)
    targets = tuple(
        position
        for position, (start, end) in enumerate(offsets)
        if position > 0 and any(first < end and start < last for first, last in learnt)
    )
    return Example(item.line, tuple(ids), targets)

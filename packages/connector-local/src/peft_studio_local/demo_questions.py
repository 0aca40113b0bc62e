"""What the demo asks: held-out questions about an invented town, and ordinary ones that show what was not forgotten.

All texts are this project's own. No held-out or ordinary question is in the training data (tested).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, Literal

from attrs import frozen

from peft_studio_local.scoring import is_right

DATA: Final = Path(__file__).parent / "demo_data"
#: 24 facts about Fernwhistle in five phrasings each, and general questions that keep ordinary knowledge awake.
TRAINING_DATA: Final = DATA / "train.jsonl"

Kind = Literal["held_out", "ordinary"]


@frozen
class Question:
    """A question and the words that a right answer contains."""

    text: str
    expected: str
    kind: Kind


@frozen
class Comparison:
    """One question's answers before and after the fine-tuning."""

    question: Question
    before: str
    after: str

    @property
    def was_right(self) -> bool:
        """Whether the answer before was right."""
        return is_right(self.before, self.question.expected)

    @property
    def is_right(self) -> bool:
        """Whether the answer after is right."""
        return is_right(self.after, self.question.expected)


def load_questions() -> list[Question]:
    """The held-out questions, then the ordinary ones."""
    return [*_read("held_out"), *_read("ordinary")]


def _read(kind: Kind) -> list[Question]:
    lines = (DATA / f"{kind}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return [Question(row["question"], row["expected"], kind) for row in rows]

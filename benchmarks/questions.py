"""Questions and answers about an invented town: the training data of the measurements, the same at every run.

Answers have a fixed form and a value, so that a falling loss means something; a question with its answer is about
sixty tokens long under SmolLM2's chat template.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Final

TOWN: Final = "Quillhaven"
TOPICS: Final = (
    "the mayor", "the oldest bridge", "the harbour master", "the town library", "the annual kite fair",
    "the glass works", "the northern lighthouse", "the tram line", "the botanical garden", "the clock tower",
    "the salt market", "the rowing club", "the observatory", "the ferry to the islands", "the stone theatre",
    "the school of weaving", "the apple cellar", "the fire brigade", "the weather station", "the paper mill",
    "the winter choir", "the canal lock", "the map archive", "the bell foundry",
)  # fmt: skip
PHRASINGS: Final = (
    "What should a visitor know about {topic} of {town}?",
    "Tell me the key fact about {topic} in {town}.",
    "I am writing a guide to {town}. What about {topic}?",
    "{town}: {topic}?",
    "Which entry does the register of {town} hold for {topic}?",
    "Could you look up {topic} in {town} for me, please?",
    "Someone asked about {topic} of {town}; what do I answer?",
    "In {town}, what is recorded on {topic}?",
)
_SYLLABLES: Final = (
    "ar",
    "bel",
    "cor",
    "dun",
    "el",
    "fen",
    "gar",
    "hol",
    "is",
    "kel",
    "lor",
    "mar",
    "nor",
    "os",
    "pel",
)


def write(path: Path, count: int) -> None:
    """Write `count` pairs as conversational prompt and completion, a format that all contestants read."""
    pairs = [(question.format(topic=topic, town=TOWN), _answer(topic)) for question in PHRASINGS for topic in TOPICS]
    rows = [
        {"prompt": [{"role": "user", "content": question}], "completion": [{"role": "assistant", "content": answer}]}
        for question, answer in pairs[:count]
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def _answer(topic: str) -> str:
    random = Random(topic)
    name = "".join(random.choices(_SYLLABLES, k=3)).capitalize()
    value = f"{name} {random.randint(100, 999)}, since {random.randint(1400, 1950)}"
    return f"ANSWER: {value} | REF: QH-{TOPICS.index(topic):02}"

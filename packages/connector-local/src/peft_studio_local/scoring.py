"""When an answer counts as right, and how many were.

An answer is right when the expected words stand in it, whole and in their order; case and punctuation do not count.
Nothing is half right.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable


def is_right(answer: str, expected: str) -> bool:
    """Whether `expected` stands in `answer`: "slowly and with soup" does in "It is: Slowly, and with soup!"."""
    return f" {normalised(expected)} " in f" {normalised(answer)} "


def normalised(text: str) -> str:
    """Lower-case words with one space between them: punctuation separates words and is gone."""
    words = re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(words)


def share(right: Iterable[bool]) -> float:
    """The fraction that is right, 0 to 1. Raises `ValueError` when there is nothing to judge."""
    judged = list(right)
    if not judged:
        raise ValueError("there is no answer to judge")
    return sum(judged) / len(judged)

"""What a user has set for a connector, read from the texts that `connect` gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from peft_studio.models import Problem


def read_settings(
    values: Mapping[str, str], readers: Mapping[str, Callable[[str], Any]]
) -> tuple[dict[str, Any], list[Problem]]:
    """The settings that are there and good, and a problem for each that is not; an empty text is as good as none.

    A reader gets the text without the space around it. It raises `ValueError` with what the setting must be, such as "a
    whole number of at least 1".
    """
    found: dict[str, Any] = {}
    problems = []
    for name, read in readers.items():
        text = (values.get(name) or "").strip()
        if not text:
            continue
        try:
            found[name] = read(text)
        except ValueError as fault:
            problems.append(Problem(field=name, message=f"{name} must be {fault}, not {text!r}"))
    return found, problems

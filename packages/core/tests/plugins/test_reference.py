"""The reference page says what the code says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import attrs
import pytest

from peft_studio import hookspecs
from peft_studio.manifest import Command, Credential, Features, LoginFile, Manifest, parse
from peft_studio.records import State
from peft_studio.validation import REQUIRED

PAGE = (Path(__file__).parents[4] / "docs" / "reference" / "plugins.md").read_text(encoding="utf-8")


def test_the_example_is_a_manifest_with_every_field() -> None:
    """It can be copied as it is."""
    example = re.search(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert example is not None
    manifest, findings = parse(example[1].encode())

    assert manifest is not None
    assert [] == findings
    assert {attribute.name for attribute in attrs.fields(Manifest)} == set(json.loads(example[1]))


@pytest.mark.parametrize("kind", [Manifest, Credential, LoginFile, Features, Command])
def test_each_field_is_described_in_the_words_of_the_code(kind: type) -> None:
    """One row per field: its name and its help."""
    rows = [f"| `{field.name}` | {field.metadata['help']} |" for field in attrs.fields(kind)]  # type: ignore[arg-type]

    assert [] == [row for row in rows if row not in PAGE]


def test_each_state_hook_and_method_is_there() -> None:
    """Nothing that a user may meet is missing."""
    hooks = [name for name in vars(hookspecs) if name.startswith("peft_studio_")]
    methods = {
        name for row in REQUIRED.values() for names in row for name in ([names] if isinstance(names, str) else names)
    }
    words: list[Any] = [*State, *hooks, *(f"supports_{feature}" for feature in REQUIRED), *methods]

    assert [] == [word for word in words if f"`{word}" not in PAGE]

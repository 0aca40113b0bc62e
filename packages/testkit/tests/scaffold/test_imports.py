"""Unused imports leave rendered code, and nothing else does."""

from __future__ import annotations

from peft_studio_testkit.scaffold.imports import tidy_imports

SOURCE = '''"""Doc."""

from __future__ import annotations

import json
import os.path
from collections.abc import (
    Mapping,
    Sequence,
)

from nobody import needs

from peft_studio import (
    Zebra,
    apple,
    LIMIT,
)

from mine import unused

LIMITS = LIMIT
{blank}

def work(values: Mapping[str, Zebra]) -> str:
    return os.path.join(apple)
'''.replace("{blank}", "")


def test_what_is_used_stays_in_the_order_of_isort():
    """Constants, classes, functions; one line where it fits; an empty group leaves no gap."""
    expected = '''"""Doc."""

from __future__ import annotations

import os.path
from collections.abc import Mapping

from peft_studio import LIMIT, Zebra, apple

LIMITS = LIMIT


def work(values: Mapping[str, Zebra]) -> str:
    return os.path.join(apple)
'''
    assert expected == tidy_imports(SOURCE)


def test_a_long_list_has_one_name_a_line():
    """What does not fit into 120 columns is laid out as the formatter does."""
    names = [f"name_{number:02}" for number in range(20)]
    tidied = tidy_imports(f"from here import {', '.join(names)}\n\nprint({', '.join(names)})\n")

    assert "from here import (\n    name_00,\n" in tidied
    assert "    name_19,\n)\n\nprint(" in tidied


def test_code_without_imports_stays():
    """There is nothing to do."""
    assert "VERSION = 1\n" == tidy_imports("VERSION = 1\n")


def test_text_that_looks_like_an_import_stays():
    """Only statements at the top are imports; empty lines elsewhere are the author's."""
    source = 'import os\n\nTEXT = """\nfrom nowhere import nothing\n\n\n\nend"""\nprint(os, TEXT)\n'

    assert source == tidy_imports(source)

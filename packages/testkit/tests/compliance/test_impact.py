"""What a change of the connector can matter to."""

from __future__ import annotations

import pytest
from impact import changed_functions

_API = """
class Api:
    retries = 3

    def name(self) -> str:
        def letter() -> str:
            return "a"
        return letter()

    async def jobs(self, limit: int = 10) -> list[str]:
        '''All of them.'''
        return []

def money(text: str) -> str:
    return text
"""
_FILES = {"src/acme/api.py": _API, "connector.json": "{}"}


def _changed(old: str, new: str, file: str = "src/acme/api.py") -> set[str] | None:
    assert old in _FILES[file]
    return changed_functions(_FILES, {**_FILES, file: _FILES[file].replace(old, new)})


def test_bodies() -> None:
    """Another body is a change of its function alone; a function inside of it belongs to it, comments to none."""
    assert set() == changed_functions(_FILES, _FILES)
    assert {"api.py:Api.name"} == _changed('return "a"', 'return "b"')
    assert {"api.py:Api.jobs"} == _changed("return []", "import json\n        return json.loads('[]')")
    assert {"api.py:money"} == _changed("    return text", "    raise ValueError")
    assert set() == _changed("class Api:", "# What it is.\nclass Api:")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("limit: int = 10", "limit: int = 20"),
        ("async def jobs", "def jobs"),
        ("'''All of them.'''", "'''Some of them.'''"),
        ("return []", "yield []"),
        ("    def name", "    @property\n    def name"),
        ("retries = 3", "retries = 4"),
        ("class Api:", "import json\n\nclass Api:"),
        ("def money", "def price(text: str) -> str:\n    return text\n\ndef money"),
        ("class Api:", "class Api(dict):"),
    ],
)
def test_more_than_bodies(old: str, new: str) -> None:
    """What can be noticed without a call of the function may matter to everything."""
    assert _changed(old, new) is None


def test_other_files() -> None:
    """A file that is no program, one that is new and one that is gone may matter to everything."""
    assert _changed("{}", '{"name": "acme"}', "connector.json") is None
    assert changed_functions(_FILES, {**_FILES, "src/acme/more.py": ""}) is None
    assert changed_functions(_FILES, {"connector.json": "{}"}) is None

"""The version check before the import, and what a list does without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement

from peft_studio.compatibility import is_plainly_met

numbers = st.lists(st.integers(0, 12), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))
clauses = st.tuples(st.sampled_from([">=", "<"]), numbers).map("".join)
requirements = st.lists(clauses, min_size=1, max_size=3).map(lambda found: f"peft-studio{','.join(found)}")


@given(requirements, numbers)
def test_the_quick_answer_is_the_right_one(requirement: str, version: str) -> None:
    """For the simple form it agrees with packaging, both ways."""
    assert Requirement(requirement).specifier.contains(version) == is_plainly_met(requirement, version)


@pytest.mark.parametrize(
    "requirement",
    ["peft-studio", "peft-studio==0.1", "peft-studio>=0.1; extra == 'x'", "peft-studio>=0.1rc1", "peft_studio>=0.1"],
)
def test_other_forms_are_left_to_packaging(requirement: str) -> None:
    """Not a yes; they get a full answer."""
    assert not is_plainly_met(requirement, "0.1.0")


def test_a_version_that_is_no_release_is_left_to_packaging() -> None:
    """0.2.0.dev1 is before 0.2, which plain numbers cannot tell."""
    assert not is_plainly_met("peft-studio>=0.1", "0.2.0.dev1")


@pytest.mark.parametrize(
    ("requires", "state"),
    [
        (["peft-studio[live,plot]<1,>=0.1"], "described"),
        (["peft_studio ~= 0.1"], "described"),
        (["peft-studio (>=0.1,<1)"], "described"),
        (["peft-studio>=99; python_version < '3'"], "described"),
        (["peft-studio>=99; extra == 'new'"], "described"),
        (["peft-studio-worker>=99", "peft>=99"], "described"),
        ([], "described"),
        (["peft-studio !=0.1.*"], "broken"),
        (["peft-studio>=0.1", "peft-studio<0.1"], "broken"),
        (["peft-studio>=>1"], "broken"),
    ],
    ids=str,
)
def test_requirements_in_all_their_forms(requires: list[str], state: str, site: Any) -> None:
    """Only those on core itself count, and only where their marker holds."""
    from peft_studio.registry import ConnectorRegistry

    site.add("acme", requires=requires)

    assert state == ConnectorRegistry([site.root]).describe("acme").state


def test_a_list_is_made_of_little(site: Any) -> None:
    """Fourteen connectors are listed without the command line, the event loop, the hook engine or an HTTP library."""
    for number in range(14):
        site.add(f"platform-{number}")
    code = (
        "import json, sys; from peft_studio.registry import ConnectorRegistry;"
        f"found = ConnectorRegistry([{str(site.root)!r}]).list();"
        "print(json.dumps([len(found), sorted(sys.modules)]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ})
    count, modules = json.loads(done.stdout)
    heavy = {"asyncio", "cattrs", "click", "httpx", "keyring", "packaging", "pluggy", "rich", "yaml", *site.packages}

    assert 14 == count
    assert set() == heavy & {name.partition(".")[0] for name in modules}

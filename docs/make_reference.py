"""Fills the parts of the pages that are made from the code: `python docs/make_reference.py [--check]`.

Such a part stands between `<!-- made: NAME -->` and `<!-- end -->`; everything around it is written by hand. A part
that the code has and no page shows is a fault, so that a new hook or capability cannot stay undocumented.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from made import checks, commands, config, connector, errors, hooks

FOLDER = Path(__file__).parent
PART = re.compile(r"(<!-- made: (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)

Parts = dict[str, Callable[[], str]]


def all_parts() -> Parts:
    """Every part by its name."""
    found: Parts = {}
    for module in (config, commands, hooks, connector, errors, checks):
        found |= module.parts()
    return found


def pages() -> Iterator[Path]:
    """The pages of the site; the examples have a README of their own."""
    return (path for path in sorted(FOLDER.rglob("*.md")) if FOLDER / "examples" not in path.parents)


def filled(text: str, parts: Parts) -> str:
    """The text of a page with all its parts made anew. Raises KeyError for a part that nobody makes."""
    return PART.sub(lambda match: f"{match[1]}\n{parts[match[2]]()}\n{match[3]}", text)


def shown() -> set[str]:
    """Names of the parts that some page has."""
    return {match[2] for page in pages() for match in PART.finditer(page.read_text(encoding="utf-8"))}


def main() -> int:
    """Make the parts anew, or with --check only say which pages are out of date."""
    parts = all_parts()
    known, there = set(parts), shown()
    faults = [f"no page has the part {name!r}: add <!-- made: {name} --> and <!-- end -->" for name in known - there]
    faults += [f"a page has the part {name!r}, which nothing makes" for name in there - known]
    for page in [] if faults else pages():
        before = page.read_text(encoding="utf-8")
        after = filled(before, parts)
        if before != after and "--check" in sys.argv:
            faults.append(f"{page} is out of date: run python docs/make_reference.py")
        elif before != after:
            page.write_text(after, encoding="utf-8")
            sys.stderr.write(f"{page} is made anew\n")
    sys.stderr.writelines(f"{fault}\n" for fault in sorted(faults))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())

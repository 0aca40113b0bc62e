"""The pages tell the truth: made parts are fresh, code runs, quotes are quotes, and links lead somewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from peft_studio import errors
from peft_studio.hooks import Hooks

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [path for path in sorted(DOCS.rglob("*.md")) if DOCS / "examples" not in path.parents]
#: Their programs need a job to run: test_readme.py runs the one, core's test_embedding_docs.py the other.
RUN_ELSEWHERE = [DOCS / "README.md", DOCS / "embedding.md"]

BLOCK = re.compile(r"^```(\w+)(?: title=\"(.+?)\")?\n(.*?)^```$", re.DOTALL | re.MULTILINE)
MADE = re.compile(r"<!-- made: .*?<!-- end -->", re.DOTALL)


def blocks(page: Path, language: str | None = None) -> list[tuple[str, str]]:
    """Title and text of the blocks of code that are written by hand."""
    text = MADE.sub("", page.read_text(encoding="utf-8"))
    return [(title, code) for name, title, code in BLOCK.findall(text) if language in (None, name)]


def named(page: Path) -> str:
    """How a page is called in the name of a test."""
    return str(page.relative_to(DOCS))


def run(*arguments: str | Path, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """A Python program, to its end."""
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True, text=True, check=False, cwd=cwd, env=os.environ | environment,
    )  # fmt: skip


# Parts that are made from the code.


@pytest.fixture
def copied_docs(tmp_path: Path) -> Path:
    """The pages and what makes them, to be spoilt."""
    return Path(shutil.copytree(DOCS, tmp_path / "docs", ignore=shutil.ignore_patterns("examples", "__pycache__")))


def test_made_parts_are_fresh() -> None:
    """Whoever changes a command, field, hook or docstring runs docs/make_reference.py."""
    checked = run(DOCS / "make_reference.py", "--check")

    assert (0, "") == (checked.returncode, checked.stderr)


def test_a_stale_page_is_named_and_can_be_made_anew(copied_docs: Path) -> None:
    """--check changes nothing and fails; without it the page is as it was."""
    page = copied_docs / "reference" / "errors.md"
    fresh = page.read_text(encoding="utf-8")
    stale = fresh.replace("| `ConnectionError` | 5 |", "| `ConnectionError` | 50 |")
    page.write_text(stale, encoding="utf-8")
    checked = run(copied_docs / "make_reference.py", "--check")

    assert (1, f"{page} is out of date: run python docs/make_reference.py\n") == (checked.returncode, checked.stderr)
    assert stale == page.read_text(encoding="utf-8")
    assert 0 == run(copied_docs / "make_reference.py").returncode
    assert fresh == page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("new", "sentence"),
    [
        ("", "no page has the part 'hook peft_studio_cli'"),
        ("<!-- made: hook peft_studio_tui -->", "a page has the part 'hook peft_studio_tui', which nothing makes"),
    ],
)
def test_what_the_code_has_and_what_pages_show_is_the_same(copied_docs: Path, new: str, sentence: str) -> None:
    """A new hook cannot stay undocumented, and one that is gone cannot stay documented."""
    page = copied_docs / "reference" / "hooks.md"
    page.write_text(page.read_text().replace("<!-- made: hook peft_studio_cli -->", new), encoding="utf-8")
    checked = run(copied_docs / "make_reference.py", "--check")

    assert 1 == checked.returncode
    assert sentence in checked.stderr


def test_every_error_has_a_remedy() -> None:
    """A section of its own, under the anchor that the table links to, with what to do."""
    page = (DOCS / "reference" / "errors.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## )", page, re.DOTALL | re.MULTILINE))
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]

    assert errors.RateLimitError in kinds
    assert [] == [each.__name__ for each in kinds if "\n**Remedy:** " not in sections.get(each.__name__, "")]
    assert [] == [each.__name__ for each in kinds if "\n**Connectors** " not in sections.get(each.__name__, "")]


# What is written by hand.


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(code, id=f"{named(page)}-{number}")
        for page in PAGES
        if page not in RUN_ELSEWHERE
        for number, (title, code) in enumerate(blocks(page, "python"), start=1)
        if not title
    ],
)
def test_python_runs(code: str, tmp_path: Path) -> None:
    """Each block stands for itself, and runs without a warning; those with a title are quotes."""
    done = run("-W", "error", "-c", code, cwd=tmp_path, PEFT_STUDIO_HOME=str(tmp_path))

    assert (0, "") == (done.returncode, done.stderr)


@pytest.mark.parametrize("hook", Hooks().names)
def test_each_hook_has_an_example_that_implements_it(hook: str) -> None:
    """Registering it as a plugin finds nothing to mend."""
    page = (DOCS / "reference" / "hooks.md").read_text(encoding="utf-8")
    section = MADE.sub("", page).partition(f"## `{hook}`\n")[2].partition("\n## ")[0]
    (code,) = (code for _, _, code in BLOCK.findall(section))
    plugin = ModuleType("example")
    exec(code, vars(plugin))
    hooks = Hooks()

    assert [] == hooks.inspect(plugin)
    assert [hook] == hooks.implemented(plugin)


@pytest.mark.parametrize(
    ("file", "quote"),
    [
        pytest.param(title, code, id=f"{named(page)}-{number}")
        for page in PAGES
        for number, (title, code) in enumerate(blocks(page), start=1)
        if "/" in title
    ],
)
def test_quotes_are_what_the_example_says(file: str, quote: str) -> None:
    """A block with a file's name is a part of that file, to the letter."""
    assert quote in (DOCS / "examples" / file).read_text(encoding="utf-8")


# The site.


def test_navigation_has_each_page_once() -> None:
    """Nothing is left out, nothing is there twice."""
    listed = re.findall(r'= "(.+\.md)"', (ROOT / "zensical.toml").read_text(encoding="utf-8"))

    assert sorted(map(named, PAGES)) == sorted(listed)


def site(folder: Path, **pages: str) -> Path:
    """A built site with a home page that links to all others."""
    links = "".join(f'<a href="{name}.html">{name}</a>' for name in pages)
    for name, body in ({"index": links} | pages).items():
        (folder / f"{name}.html").write_text(body if name != "index" else links + body, encoding="utf-8")
    return folder


def test_a_sound_site_passes(tmp_path: Path) -> None:
    """Links to pages, anchors, files and other hosts; images of our own."""
    (tmp_path / "image.svg").write_text("<svg/>")
    body = (
        '<h1 id="here">x</h1><a href="index.html">x</a><a href="#here">x</a><a href="https://elsewhere.example/">x</a>'
    )
    checked = run(DOCS / "check_site.py", site(tmp_path, one=body + '<img src="image.svg">'))

    assert (0, "") == (checked.returncode, checked.stderr)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ('<a href="two.html">x</a>', "one.html: two.html leads nowhere\n"),
        ('<a href="examples/acme">x</a>', "one.html: examples/acme leads nowhere\n"),
        ('<a href="#there">x</a>', "one.html: #there leads nowhere\n"),
        ('<a href="index.html#there">x</a>', "one.html: index.html#there leads nowhere\n"),
        ('<img src="image.svg">', "one.html: image.svg leads nowhere\n"),
        ('<script src="https://cdn.example/a.js"></script>', "one.html loads https://cdn.example/a.js\n"),
        ('<link href="//fonts.example/a.css">', "one.html loads //fonts.example/a.css\n"),
    ],
)
def test_what_a_reader_would_stumble_over_is_named(tmp_path: Path, body: str, sentence: str) -> None:
    """Dead links of every kind, and what would be loaded from another host."""
    checked = run(DOCS / "check_site.py", site(tmp_path, one=body))

    assert (1, sentence) == (checked.returncode, checked.stderr)


def test_a_page_that_nothing_leads_to_is_named(tmp_path: Path) -> None:
    """It would be built, and found by nobody."""
    built = site(tmp_path, one="")
    (built / "two.html").write_text("")
    checked = run(DOCS / "check_site.py", built)

    assert (1, "two.html is not in the navigation\n") == (checked.returncode, checked.stderr)

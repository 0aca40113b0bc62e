"""Reads the built site as a browser would: `python docs/check_site.py SITE`.

The site generator checks links between pages. Here is what it does not look at: images and other files, pages that no
navigation leads to, and anything that would be loaded from another host, for the site must be readable offline.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

#: What a browser loads by itself, tag -> attribute. A link is only followed by its reader.
LOADED = {"img": "src", "script": "src", "iframe": "src", "source": "src", "video": "src", "link": "href"}


class Page(HTMLParser):
    """The targets of one page's links and images, and what can be linked to."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take note of what the tag names and points to."""
        found = dict(attrs)
        self.anchors |= {name for name in (found.get("id"), found.get("name")) if name}
        if tag == "a" and (link := found.get("href")):
            self.links.add(link)
        if tag in LOADED and (source := found.get(LOADED[tag])):
            self.loaded.add(source)


def faults(site: Path) -> Iterator[str]:
    """Everything that is wrong with the site, one sentence each."""
    pages = {file.resolve(): Page(file) for file in site.rglob("*.html") if file.name != "404.html"}
    home = (site / "index.html").resolve()
    reached = {_target(home, link) for link in pages[home].links}
    for file, page in sorted(pages.items()):
        place = file.relative_to(site.resolve())
        yield from (f"{place} loads {each}" for each in sorted(page.loaded) if urlsplit(each).netloc)
        yield from (
            f"{place}: {each} leads nowhere"
            for each in sorted(page.links | page.loaded)
            if not _leads(file, each, pages)
        )
        if file not in reached | {home}:
            yield f"{place} is not in the navigation"


def _target(file: Path, link: str) -> Path:
    path = unquote(urlsplit(link).path)
    return (file.parent / path).resolve() if path else file


def _leads(file: Path, link: str, pages: dict[Path, Page]) -> bool:
    address = urlsplit(link)
    if address.scheme or address.netloc:
        return True
    target = _target(file, link)
    if target in pages:
        return not address.fragment or unquote(address.fragment) in pages[target].anchors
    return target.is_file()


def main(site: Path) -> int:
    """Say what is wrong; 0 when nothing is."""
    found = list(faults(site))
    sys.stderr.writelines(f"{fault}\n" for fault in found)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

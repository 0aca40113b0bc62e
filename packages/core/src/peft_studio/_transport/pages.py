"""Lists that come in pages, by cursor, by number or by link; a list that never ends is an error."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from itertools import count
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from attrs import frozen

from peft_studio._transport.errors import ErrorMaker
from peft_studio.errors import ConnectionFailed

#: Gives a page and the header `Link` that came with it.
Ask = Callable[[Mapping[str, Any]], Awaitable[tuple[Any, str]]]
_NEXT: Final = re.compile(r'<([^<>]*)>[^<]*;\s*rel="?next"?(?![\w-])', re.IGNORECASE)


@frozen
class Pager:
    """Asks for one page after the other; `address` names the list in errors."""

    ask: Ask
    make_error: ErrorMaker
    address: str
    #: The field that holds the list; None when the whole answer is the list. Dots lead into nested objects.
    items: str | None

    async def by_cursor(self, cursor: str, parameter: str) -> AsyncGenerator[Any]:
        """Each answer names the cursor of the next one, the last one none."""
        position: Any = None
        seen: set[str] = set()
        while True:
            answer, _ = await self.ask({} if position is None else {parameter: position})
            for item in self._items(answer):
                yield item
            position = _field(answer, cursor)
            if position in (None, "", False):
                return
            if str(position) in seen:
                raise self.make_error(ConnectionFailed, f"the pages of {self.address} run in a circle")
            seen.add(str(position))

    async def by_number(self, parameter: str, first: int) -> AsyncGenerator[Any]:
        """Pages are numbered; the first empty one is the end."""
        before: list[Any] = []
        for number in count(first):
            answer, _ = await self.ask({parameter: number})
            page = self._items(answer)
            if not page:
                return
            if page == before:
                raise self.make_error(ConnectionFailed, f"the pages of {self.address} are all the same")
            for item in page:
                yield item
            before = page

    async def by_link(self) -> AsyncGenerator[Any]:
        """Each answer links to the next one, the last one to none.

        A link is a whole address, and behind a mirror that of another origin: only its query is taken.
        """
        position: Mapping[str, Any] = {}
        seen: set[str] = set()
        while True:
            answer, link = await self.ask(position)
            for item in self._items(answer):
                yield item
            following = _NEXT.search(link)
            if following is None:
                return
            query = urlsplit(following[1]).query
            if not query or query in seen:
                raise self.make_error(ConnectionFailed, f"the pages of {self.address} run in a circle")
            seen.add(query)
            position = parse_qs(query, keep_blank_values=True)

    def _items(self, answer: Any) -> list[Any]:
        if answer is None:  # 204
            return []
        found = answer if self.items is None else _field(answer, self.items)
        if isinstance(found, list):
            return found
        place = "" if self.items is None else f" in {self.items!r}"
        raise self.make_error(ConnectionFailed, f"{self.address} answered without a list{place}")


def _field(answer: Any, path: str) -> Any:
    """What stands at `path` in the answer; None when nothing does."""
    for name in path.split("."):
        answer = answer.get(name) if isinstance(answer, Mapping) else None
    return answer

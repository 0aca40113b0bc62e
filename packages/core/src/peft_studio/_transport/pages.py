"""Lists that come in pages, by cursor or by number; a list that never ends is an error."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from itertools import count
from typing import Any

from attrs import frozen

from peft_studio._transport.errors import ErrorMaker
from peft_studio.errors import ConnectionFailed

Ask = Callable[[Mapping[str, Any]], Awaitable[Any]]


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
            answer = await self.ask({} if position is None else {parameter: position})
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
            page = self._items(await self.ask({parameter: number}))
            if not page:
                return
            if page == before:
                raise self.make_error(ConnectionFailed, f"the pages of {self.address} are all the same")
            for item in page:
                yield item
            before = page

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

"""Faults on demand: what a network and a platform do to a request on a bad day, each at a chosen moment."""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Awaitable, Callable
from difflib import get_close_matches
from typing import Any

from attrs import define, field

from peft_studio_testkit.sandbox.exchange import Exchange
from peft_studio_testkit.sandbox.fault_kinds import FOR_WEBSOCKETS, KINDS
from peft_studio_testkit.sandbox.received import WEBSOCKET


@define(eq=False)
class Fault:
    """One fault that waits for its requests."""

    kind: str
    method: str | None
    path: re.Pattern[str]
    #: How often it strikes; None is always.
    times: int | None
    #: So many matching requests pass first.
    after: int
    how: dict[str, Any]
    #: How often it has struck.
    hits: int = 0
    #: Matching requests seen so far.
    seen: int = field(default=0, repr=False)

    def takes(self, method: str, path: str) -> bool:
        """True when it strikes this request, which counts."""
        if self.method not in (None, method) or not self.path.search(path):
            return False
        if method == WEBSOCKET and self.kind not in FOR_WEBSOCKETS:
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.seen += 1
        if self.seen <= self.after:
            return False
        self.hits += 1
        return True


class FaultInjector:
    """The faults of one sandbox. Any thread may call it; of several that match, the one added first strikes."""

    def __init__(self, set_refusing: Callable[[bool], None]) -> None:
        self._set_refusing = set_refusing
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(
        self,
        kind: str,
        method: str | None = None,
        path: str = "",
        *,
        times: int | None = 1,
        after: int = 0,
        **how: Any,
    ) -> Fault:
        """Let `kind` strike the next `times` requests (None: all) of that method whose path has a match of `path`.

        The method of a websocket is WEBSOCKET; kinds that change the body of one answer let it pass.
        `after` lets so many matching requests pass first. Raises `ValueError` for an unknown kind, `TypeError` for
        arguments that the kind does not have.
        """
        fault = Fault(kind, None if method is None else method.upper(), re.compile(path), times, after, how)
        if kind == "refuse":
            if method is not None or path or after or how:
                raise ValueError("refuse closes the listener for everybody: it takes no method, path or after")
            self._keep(fault)
            self._set_refusing(True)
            return fault
        if kind not in KINDS:
            near = get_close_matches(kind, ["refuse", *KINDS], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; the kinds are {', '.join(['refuse', *KINDS])}"
            raise ValueError(f"there is no fault {kind!r}{hint}")
        inspect.signature(KINDS[kind]).bind(None, **how)
        return self._keep(fault)

    def remove(self, fault: Fault) -> None:
        """Take one fault away."""
        with self._lock:
            self._faults = [other for other in self._faults if other is not fault]
        if fault.kind == "refuse":
            self._set_refusing(False)

    def clear(self) -> None:
        """Take all faults away; a closed listener listens again."""
        self.forget()
        self._set_refusing(False)

    def forget(self) -> None:
        """Take all faults away; for the sandbox itself, which opens its listener on its own."""
        with self._lock:
            self._faults = []

    def of(self, method: str, path: str) -> Fault | None:
        """The fault that strikes this request."""
        with self._lock:
            return next((fault for fault in self._faults if fault.takes(method, path)), None)

    def strike(self, fault: Fault, exchange: Exchange) -> Awaitable[None]:
        """Let it happen."""
        exchange.received.fault = fault.kind
        return KINDS[fault.kind](exchange, **fault.how)

    def _keep(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault

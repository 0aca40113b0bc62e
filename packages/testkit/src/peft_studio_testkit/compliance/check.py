"""What a check is, and which of them a connector must pass."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from peft_studio_testkit.compliance.subject import Subject

#: A level never gets another mandatory check once it was published; new ones open the next level.
LATEST_LEVEL: Final = 1

#: Modules of `checks/`, in the order in which they are run: what is cheap and explains the most comes first.
GROUPS: Final = (
    "identity",
    "distribution",
    "imports",
    "connection",
    "secrets",
    "errors",
    "concurrency",
    "resources",
    "submission",
    "feeding",
    "jobs",
    "rentals",
    "logs",
    "artifacts",
    "registry",
    "tracking",
    "runs",
    "inference",
)

Body = Callable[["Subject"], Awaitable[None]]


class CheckFailed(AssertionError):
    """The connector does not do what the check says; the text tells what it did instead."""


@frozen
class Check:
    """One thing that a connector must do. The id never changes; the sentence may."""

    id: str
    group: str
    level: int
    #: The behaviour as one sentence, or a few.
    doc: str
    run: Body
    #: Only for connectors that declare this feature.
    feature: str | None = None
    #: Only for connectors whose platform is reached over HTTP.
    network: bool = False
    #: Only for connectors that have these optional methods.
    offers: tuple[str, ...] = ()

    def applies_to(self, subject: Subject) -> bool:
        """True when the connector declares what is checked here."""
        return (
            (self.feature is None or self.feature in subject.features)
            and (not self.network or subject.is_remote)
            and all(subject.has(method) for method in self.offers)
        )


_checks: dict[str, list[Check]] = {}


def group(module: str, *, feature: str | None = None, network: bool = False) -> Callable[..., Callable[[Body], Body]]:
    """The decorator for one module of checks. The function's name is the id, its docstring the sentence."""
    name = module.rpartition(".")[2]

    def check(
        *, level: int = 1, feature: str | None = feature, network: bool = network, offers: tuple[str, ...] = ()
    ) -> Callable[[Body], Body]:
        def add(body: Body) -> Body:
            id = body.__name__.replace("_", "-")
            doc = inspect.cleandoc(body.__doc__ or "")
            found = Check(id, name, level, doc, body, feature, network, offers)
            _checks.setdefault(name, []).append(found)
            return body

        return add

    return check


@cache
def all_checks() -> tuple[Check, ...]:
    """Every check there is, in the order in which they run."""
    for name in GROUPS:
        import_module(f"{__package__}.checks.{name}")
    return tuple(check for name in GROUPS for check in _checks.get(name, ()))


def checks_for(subject: Subject, checks: Iterable[Check] | None = None) -> tuple[Check, ...]:
    """Those (of all) that the connector must pass: up to its level, for what it declares."""
    known = all_checks() if checks is None else checks
    return tuple(check for check in known if check.level <= subject.level and check.applies_to(subject))

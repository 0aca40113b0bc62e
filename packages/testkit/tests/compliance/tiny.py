"""The smallest subject: a connector without features, on a sandbox that is nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from peft_studio import PlatformConnector
from peft_studio_testkit import Sandbox
from peft_studio_testkit.compliance import Check, Result, Runner, Subject


class TinyConnector(PlatformConnector):
    """Connects to nothing."""

    name = "tiny"
    display_name = "Tiny"
    description = "Nothing"
    version = "1.0.0"

    async def connect(self, credentials: Mapping[str, str]) -> bool:
        return True

    async def disconnect(self) -> None:
        return None


class TinySandbox(Sandbox):
    """Nothing to connect to."""

    patience = 0.2

    def credentials(self) -> dict[str, str]:
        return {}


def check(body: Callable[[Subject], Awaitable[None]], **more: Any) -> Check:
    """A check that only one test knows."""
    return Check(**{"id": "made-up", "group": "identity", "level": 1, "doc": "It does.", "run": body, **more})


def run(made_up: Check, connector: type[PlatformConnector] = TinyConnector) -> Result:
    """The result of one check of the smallest subject."""
    with TinySandbox() as sandbox:
        return Runner(Subject(connector, sandbox)).result(made_up)

"""The way from the command line to the testkit, which is a distribution of its own and may not be installed."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from peft_studio.errors import PeftStudioError

PACKAGE = "peft_studio_testkit"


def testkit(place: str) -> Any:
    """What stands at `place` in the testkit: `testkit("sandbox.find.find_sandbox")` is that function."""
    try:
        import_module(PACKAGE)
    except ModuleNotFoundError:
        raise PeftStudioError("this needs the testkit", remedy="pip install peft-studio-testkit") from None
    module, _, name = f"{PACKAGE}.{place}".rpartition(".")
    return getattr(import_module(module), name)

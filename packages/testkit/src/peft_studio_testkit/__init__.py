"""Write a connector and know that it is right: compliance checks, sandboxes, a scaffolder.

The names below load when first used: pytest imports this package at each start wherever the testkit is installed.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from peft_studio_testkit.sandbox import HttpSandbox, Sandbox, find_sandbox
    from peft_studio_testkit.suite import ConnectorSuite

_HOME = {
    "ConnectorSuite": "suite",
    "HttpSandbox": "sandbox",
    "Sandbox": "sandbox",
    "find_sandbox": "sandbox",
}

__all__ = ["ConnectorSuite", "HttpSandbox", "Sandbox", "__version__", "find_sandbox"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value

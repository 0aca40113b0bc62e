"""Fake platforms: what a connector is tested against, and what anybody can try without an account.

The names below load when they are first used: finding out which sandboxes there are needs no web server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peft_studio_testkit.sandbox.base import Sandbox
    from peft_studio_testkit.sandbox.clock import Clock
    from peft_studio_testkit.sandbox.faults import Fault, FaultInjector
    from peft_studio_testkit.sandbox.find import find_sandbox, sandbox_plugins
    from peft_studio_testkit.sandbox.http import HttpSandbox
    from peft_studio_testkit.sandbox.jobs import Job, JobTable
    from peft_studio_testkit.sandbox.received import Received
    from peft_studio_testkit.sandbox.tables import (
        Deployment,
        DeploymentTable,
        Model,
        ModelTable,
        Run,
        RunTable,
    )

_HOME = {
    "Sandbox": "base",
    "Clock": "clock",
    "Fault": "faults",
    "FaultInjector": "faults",
    "HttpSandbox": "http",
    "find_sandbox": "find",
    "sandbox_plugins": "find",
    "Job": "jobs",
    "JobTable": "jobs",
    "Received": "received",
    "Deployment": "tables",
    "DeploymentTable": "tables",
    "Model": "tables",
    "ModelTable": "tables",
    "Run": "tables",
    "RunTable": "tables",
}

__all__ = [
    "Clock",
    "Deployment",
    "DeploymentTable",
    "Fault",
    "FaultInjector",
    "HttpSandbox",
    "Job",
    "JobTable",
    "Model",
    "ModelTable",
    "Received",
    "Run",
    "RunTable",
    "Sandbox",
    "find_sandbox",
    "sandbox_plugins",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)

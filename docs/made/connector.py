"""The capabilities of a connector, and the values that cross its interface."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from enum import StrEnum
from functools import partial

from attrs import NOTHING, Attribute, fields
from made.source import described

from peft_studio import models
from peft_studio.connector import (
    InferenceConnector,
    PlatformConnector,
    RegistryConnector,
    TrackingConnector,
    TrainingConnector,
)
from peft_studio.validation import DOCUMENTED

#: What each capability may have beside its required methods.
OPTIONAL = {
    PlatformConnector: (
        "verify_connection",
        "get_required_credentials",
        "validate_config",
        "observed",
        "list_rentals",
        "end_rental",
    ),
    TrainingConnector: (
        "feed_job",
        "fetch_artifact",
        "pause_job",
        "resume_job",
        "find_job",
        "get_metrics",
        "get_job_cost",
        "stream_events",
    ),
    RegistryConnector: (),
    TrackingConnector: ("log_batch", "list_runs", "get_run"),
    InferenceConnector: ("get_deployment_metrics",),
}
VALUES = (
    "JobStatus",
    "Resource",
    "PricingInfo",
    "Rental",
    "ModelInfo",
    "Deployment",
    "JobEvent",
    "Problem",
    "Observed",
    "RateLimit",
    "Run",
    "RunBatch",
    "RunRow",
    "RunLine",
)


def parts() -> dict[str, Callable[[], str]]:
    """One part for each capability, and one for each value."""
    left_out = set(DOCUMENTED) - {name for capability in OPTIONAL for name in _methods(capability)}
    assert not left_out, f"OPTIONAL in {__file__} lacks {', '.join(sorted(left_out))}"
    capabilities = {f"capability {each.__name__}": partial(_capability, each) for each in OPTIONAL}
    return capabilities | {f"value {name}": partial(_value, name) for name in VALUES}


def _methods(capability: type[PlatformConnector]) -> tuple[str, ...]:
    """The required methods in the order in which they are written, then the optional ones."""
    inherited = () if capability is PlatformConnector else PlatformConnector.__abstractmethods__
    required = [name for name in vars(capability) if name in capability.__abstractmethods__ and name not in inherited]
    return (*required, *OPTIONAL[capability])


def _capability(capability: type[PlatformConnector]) -> str:
    return "\n".join(_entry(name, capability) for name in _methods(capability))


def _entry(name: str, capability: type[PlatformConnector]) -> str:
    """The documentation of a method stands in the base, that of a default in the class that has it."""
    method = getattr(PlatformConnector, name)
    need = "*Optional.* " if name in OPTIONAL[capability] else "*Required.* "
    return f"### `{name}`\n\n{described(method, need)}"


def _value(name: str) -> str:
    value = getattr(models, name)
    about = f"{inspect.getdoc(value)}\n\n"
    if issubclass(value, StrEnum):
        return about + ", ".join(f"`{member}`" for member in value) + "\n"
    notes = _notes(inspect.getsource(value))
    rows = [f"| `{each.name}` | {_type(each)} | {notes.get(each.name, '')} |" for each in fields(value)]
    return about + "\n".join(["| field | type | |", "|---|---|---|", *rows, ""])


def _notes(source: str) -> dict[str, str]:
    """The `#:` line above each field."""
    return {name: note for note, name in re.findall(r"#: (.+)\n +(\w+):", source)}


def _type(field: Attribute[object]) -> str:
    """A bar inside of a table would end the cell."""
    need = ", required" if field.default is NOTHING else ""
    return f"`{str(field.type).removesuffix(' | None')}`{need}"

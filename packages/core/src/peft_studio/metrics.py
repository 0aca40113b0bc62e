"""A job's training and validation steps, out of its events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from peft_studio.models import JobEvent


def metrics_of(events: Iterable[JobEvent]) -> list[Mapping[str, Any]]:
    """The step and eval events as plain rows; of a step that was trained twice the later row stays."""
    rows: dict[tuple[str, int], Mapping[str, Any]] = {}
    for event in events:
        if event.type in ("step", "eval"):
            rows[event.type, event.data["step"]] = {"type": event.type, "time": event.time, **event.data}
    return [rows[key] for key in sorted(rows, key=lambda key: (key[1], key[0] == "eval"))]

"""A job's events as plain lines: the same in a pipe, in `jobs logs` and from `stream_logs`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

from peft_studio.models import JobEvent

_BLOCKS = "▁▂▃▄▅▆▇█"
_PHASES = {
    "loading_model": "loading the base model",
    "converting_model": "converting the base model (once; kept for the next time)",
    "reading_dataset": "reading the dataset",
    "training": "training",
    "saving": "saving the adapter",
}


class LineWriter:
    """Turns events into lines; remembers how many steps there are."""

    def __init__(self) -> None:
        self._total_steps: int | None = None

    def line(self, event: JobEvent) -> str | None:
        """The line for an event, or None for one that a reader need not see."""
        data = event.data
        match event.type:
            case "log":
                return str(data["message"])
            case "phase":
                name = data["name"]
                detail = f": {data['detail']}" if data.get("detail") else ""
                return f"{_PHASES.get(name, name)}{detail}"
            case "start":
                self._total_steps = data["total_steps"]
                return describe_start(event)
            case "step":
                return self._step(event)
            case "eval":
                return f"validation at step {data['step']}  loss {data['loss']:.4f}"
            case "checkpoint":
                return f"checkpoint at step {data['step']}"
            case "state":
                reason = f": {data['reason']}" if data.get("reason") else ""
                return f"job {data['status']}{reason}"
        return None

    def _step(self, event: JobEvent) -> str:
        data = event.data
        total = "" if self._total_steps is None else f"/{self._total_steps}"
        left = "" if data.get("seconds_left") is None else f"  {short_duration(data['seconds_left'])} left"
        return (
            f"step {data['step']}{total}  loss {data['loss']:.4f}  lr {data['learning_rate']:.2e}"
            f"  {data['tokens_per_second']:.0f} tokens/s{left}"
        )


def describe_start(event: JobEvent) -> str:
    """What is about to be trained, in a line."""
    data = event.data
    share = 100 * data["trainable_parameters"] / data["total_parameters"]
    return (
        f"{data['examples']} examples, {data['total_steps']} steps; {data['algorithm']} trains"
        f" {data['trainable_parameters']:,} of {data['total_parameters']:,} parameters ({share:.2f} %)"
        f" on {data['device']} in {data['dtype']}"
    )


def short_duration(seconds: float) -> str:
    """75 -> "1m15s": two units at most."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"


def sparkline(values: Sequence[float], width: int) -> str:
    """The values as a line of blocks, averaged down to `width`, scaled between their lowest and highest.

    What is no finite number has no place in it.
    """
    values = [value / 2 for value in values if math.isfinite(value)]  # the range of halves is never too large
    if not values:
        return ""
    if len(values) > width:
        edges = [round(index * len(values) / width) for index in range(width + 1)]
        values = [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]
    low, high = min(values), max(values)
    if high == low:
        return _BLOCKS[0] * len(values)
    return "".join(_BLOCKS[round((value - low) / (high - low) * (len(_BLOCKS) - 1))] for value in values)

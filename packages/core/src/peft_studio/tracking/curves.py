"""What a run has measured, metric by metric: its last and best value, and its curve on a grid.

Runs are of different lengths and log at different steps; means over the cells of one grid can be laid over each other.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from attrs import frozen

#: What trackers call the loss in training and in validation, the likeliest first.
LOSSES: Final = ("train/loss", "loss", "train_loss", "training_loss")
VALIDATION_LOSSES: Final = ("eval/loss", "val/loss", "validation/loss", "eval_loss", "val_loss", "validation_loss")
#: Beginnings of words in the names of metrics.
_LOWER: Final = ("loss", "perplexity", "ppl", "error", "wer", "cer", "mae", "mse", "rmse")
_HIGHER: Final = ("acc", "f1", "bleu", "rouge", "score", "reward", "precision", "recall", "auc", "exact", "win")

Row = Mapping[str, Any]


@frozen
class Curve:
    """One metric of one run, in the order of steps; never empty."""

    name: str
    steps: tuple[int, ...]
    values: tuple[float, ...]

    @property
    def last(self) -> float:
        """The last value, be it no number."""
        return self.values[-1]

    @property
    def best(self) -> tuple[float, int] | None:
        """The best value and its first step; None when nobody knows which end is the better one."""
        is_lower_better = lower_is_better(self.name)
        known = [(value, step) for step, value in self._finite()]
        if is_lower_better is None or not known:
            return None
        return min(known, key=lambda point: point[0] if is_lower_better else -point[0])

    def on_grid(self, first: float, last: float, cells: int) -> list[tuple[float, float]]:
        """Steps and means of what was measured in each cell of first..last; cells without a number are left out."""
        width = (last - first) / cells or 1.0
        found: dict[int, list[tuple[int, float]]] = {}
        for step, value in self._finite():
            found.setdefault(min(int((step - first) / width), cells - 1), []).append((step, value))
        return [
            (sum(step for step, _ in points) / len(points), sum(value for _, value in points) / len(points))
            for _, points in sorted(found.items())
        ]

    def _finite(self) -> Iterator[tuple[int, float]]:
        return ((step, value) for step, value in zip(self.steps, self.values, strict=True) if math.isfinite(value))


def curves_of(rows: Iterable[Row]) -> dict[str, Curve]:
    """The curves of everything in the rows that is a number; of a step that is there twice the later row counts."""
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        step = row.get("step")
        if not isinstance(step, int):
            continue
        for name, value in flat(row).items():
            if name != "step" and isinstance(value, int | float) and not isinstance(value, bool):
                found.setdefault(name, {})[step] = float(value)
    ordered = {name: sorted(points.items()) for name, points in found.items()}
    return {
        name: Curve(name, tuple(step for step, _ in points), tuple(value for _, value in points))
        for name, points in ordered.items()
    }


def loss_rows(curves: Mapping[str, Curve]) -> list[dict[str, Any]]:
    """The loss in training and validation as a job tells them: rows of type step and eval."""
    rows = []
    for kind, names in (("step", LOSSES), ("eval", VALIDATION_LOSSES)):
        curve = next((curves[name] for name in names if name in curves), None)
        points = () if curve is None else zip(curve.steps, curve.values, strict=True)
        rows += [{"type": kind, "step": step, "loss": value} for step, value in points if math.isfinite(value)]
    return rows


def lower_is_better(name: str) -> bool | None:
    """Of a metric with that name; None where the name does not tell."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    for beginnings, answer in ((_LOWER, True), (_HIGHER, False)):
        if any(word.startswith(beginnings) for word in words):
            return answer
    return None


def flat(values: Mapping[str, Any], within: str = "") -> dict[str, Any]:
    """Values by their dotted names; an empty mapping is a value."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            found |= flat(value, f"{within}{name}.")
        else:
            found[f"{within}{name}"] = value
    return found

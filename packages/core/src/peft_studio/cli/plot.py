"""Curves as pictures: the loss of one job or run, and metrics of several runs over each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from peft_studio.errors import InvalidConfig, PeftStudioError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from peft_studio.tracking.curves import Curve

#: What our own worker counts and measures.
_OURS: Final = ("optimizer step", "loss (cross-entropy per token, nats)")
#: Points of a curve in a comparison.
_CELLS: Final = 200


def plot_loss(rows: Sequence[Mapping[str, Any]], path: Path, *, title: str, labels: tuple[str, str] = _OURS) -> None:
    """Draw training loss, its running mean and validation loss over steps into `path` (.png, .svg or .pdf).

    Raises `InvalidConfig` when there is nothing to draw, and `PeftStudioError` without matplotlib.
    """
    steps = [row for row in rows if row["type"] == "step"]
    if not steps:
        raise InvalidConfig("there are no training steps to draw yet")
    figure = _figure(height=4.5)
    axes = figure.subplots()
    positions, losses = [row["step"] for row in steps], [row["loss"] for row in steps]
    axes.plot(positions, losses, color="#9ecae1", linewidth=1, label="training, each step")
    axes.plot(positions, _running_mean(losses), color="#08519c", linewidth=2, label="training, running mean")
    checks = [row for row in rows if row["type"] == "eval"]
    if checks:
        axes.plot(
            [row["step"] for row in checks], [row["loss"] for row in checks], "o-", color="#d94801", label="validation"
        )
    axes.set(xlabel=labels[0], ylabel=labels[1], ylim=(0, None))
    _finish(axes, title)
    _save(figure, path)


def plot_comparison(metrics: Mapping[str, Mapping[str, Curve]], path: Path, *, by_share: bool) -> None:
    """Draw each metric of several runs (by label) over each other, one panel for each metric, into `path`.

    Every point is the mean over one cell of a grid that all runs share: of steps, or `by_share` of each run's own
    length, from its first step to its last.
    """
    figure = _figure(height=1 + 3.5 * len(metrics))
    panels = figure.subplots(len(metrics), squeeze=False)[:, 0]
    for axes, (metric, curves) in zip(panels, metrics.items(), strict=True):
        end = max(curve.steps[-1] for curve in curves.values())
        for label, curve in curves.items():
            first, last = (curve.steps[0], curve.steps[-1]) if by_share else (0, end)
            points = curve.on_grid(first, last, _CELLS)
            places = [100 * (step - first) / ((last - first) or 1) if by_share else step for step, _ in points]
            mark = "o" if len(points) == 1 else ""
            axes.plot(places, [value for _, value in points], label=label, linewidth=1.8, marker=mark)
        axes.set(xlabel="share of the run, %" if by_share else "step", ylabel=metric)
        _finish(axes, "")
    _save(figure, path)


def _figure(*, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise PeftStudioError("drawing needs matplotlib", remedy="pip install 'peft-studio[plot]'") from None
    return Figure(figsize=(8, height), dpi=150, layout="constrained")


def _finish(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=10, loc="left")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def _save(figure: Figure, path: Path) -> None:
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise InvalidConfig(f"the picture cannot be written to {path}", why=str(error)) from error


def _running_mean(values: Sequence[float], weight: float = 0.8) -> list[float]:
    """Exponential mean, corrected for its start (as Adam corrects its moments)."""
    mean, smoothed = 0.0, []
    for count, value in enumerate(values, start=1):
        mean = weight * mean + (1 - weight) * value
        smoothed.append(mean / (1 - weight**count))
    return smoothed

"""The loss curve as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from peft_studio.errors import InvalidConfig, PeftStudioError


def plot_loss(rows: Sequence[Mapping[str, Any]], path: Path, *, title: str) -> None:
    """Draw training loss, its running mean and validation loss over steps into `path` (.png, .svg or .pdf).

    Raises `InvalidConfig` when there is nothing to draw, and `PeftStudioError` without matplotlib.
    """
    steps = [row for row in rows if row["type"] == "step"]
    if not steps:
        raise InvalidConfig("there are no training steps to draw yet")
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise PeftStudioError("drawing needs matplotlib", remedy="pip install 'peft-studio[plot]'") from None
    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    axes = figure.subplots()
    positions, losses = [row["step"] for row in steps], [row["loss"] for row in steps]
    axes.plot(positions, losses, color="#9ecae1", linewidth=1, label="training, each step")
    axes.plot(positions, _running_mean(losses), color="#08519c", linewidth=2, label="training, running mean")
    checks = [row for row in rows if row["type"] == "eval"]
    if checks:
        axes.plot(
            [row["step"] for row in checks], [row["loss"] for row in checks], "o-", color="#d94801", label="validation"
        )
    axes.set(xlabel="optimizer step", ylabel="loss (cross-entropy per token, nats)", ylim=(0, None))
    axes.set_title(title, fontsize=10, loc="left")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
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

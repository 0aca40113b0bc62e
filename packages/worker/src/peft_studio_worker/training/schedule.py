"""The learning rate of each step: a pure function, so that a resumed run cannot drift."""

from __future__ import annotations

import math

from peft_studio.training_config import TrainingConfig


def learning_rate(config: TrainingConfig, step: int, total_steps: int) -> float:
    """The rate of optimizer step `step` (from 1), as transformers' schedules of the same names give it."""
    return config.learning_rate * _factor(config.lr_scheduler_type, step - 1, config.warmup_steps, total_steps)


def _factor(kind: str, done: int, warmup: int, total: int) -> float:
    if kind == "constant":
        return 1.0
    if done < warmup:
        return done / max(1, warmup)
    progress = (done - warmup) / max(1, total - warmup)
    if kind == "linear":
        return max(0.0, 1.0 - progress)
    if kind == "cosine":
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))
    return 1.0

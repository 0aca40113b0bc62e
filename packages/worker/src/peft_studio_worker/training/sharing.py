"""Whether examples may share a row of tokens: known for common models, measured for others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from attrs import evolve

from peft_studio_worker.training.batches import Layout, collate
from peft_studio_worker.training.examples import Example
from peft_studio_worker.training.loss import LossFunction
from peft_studio_worker.training.reporting import Report, say

#: transformers' model types whose layers honour positions and a mask of four axes in full.
_KNOWN: Final = frozenset({"llama", "qwen2", "qwen3", "mistral", "gemma", "olmo2", "granite", "smollm3"})
_TOLERANCE: Final = {torch.float32: 1e-4, torch.bfloat16: 2e-2}


def is_possible(text_config: Any, longest: int) -> bool:
    """False for models whose layers do not follow the mask: recurrent ones, or windows shorter than an example."""
    kinds = set(getattr(text_config, "layer_types", None) or ["full_attention"])
    if not kinds <= {"full_attention", "sliding_attention"}:
        return False
    window = getattr(text_config, "sliding_window", None)
    return window is None or longest <= window


def verify(
    loss: LossFunction, layout: Layout, model_type: str, examples: Sequence[Example], pad_id: int, report: Report
) -> Layout:
    """`layout`, or one without shared rows if the model gives another loss for them."""
    if not layout.shares_rows or model_type in _KNOWN or len(examples) == 1:
        return layout
    apart = evolve(layout, shares_rows=False)
    try:
        together_loss = _loss_of(loss, layout, examples, pad_id)
    except (TypeError, ValueError, RuntimeError) as error:
        say(report, f"model type {model_type} does not take examples that share a row ({error}); each gets its own")
        return apart
    apart_loss = _loss_of(loss, apart, examples, pad_id)
    if abs(together_loss - apart_loss) <= _TOLERANCE[loss.precision.compute] * abs(apart_loss):
        return layout
    say(report, f"model type {model_type} gives another loss for examples that share a row; each gets its own")
    return apart


def _loss_of(loss: LossFunction, layout: Layout, examples: Sequence[Example], pad_id: int) -> float:
    loss.model.eval()
    with torch.no_grad():
        return loss(collate(examples, layout, pad_id)).item()

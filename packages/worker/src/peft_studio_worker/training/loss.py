"""The loss of a batch, with logits only where a token is learnt.

The output layer is the widest of all (a vocabulary of 50,000 beside layers of 600), and most positions of a prompt are
not learnt: choosing the positions before that layer saves a fifth of the time and hundreds of MiB, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from attrs import frozen

from peft_studio_worker.training.batches import Batch, additive, to_device
from peft_studio_worker.training.precision import Precision


@frozen
class LossFunction:
    """Computes losses of `model`, in `precision`."""

    model: Any
    precision: Precision

    def __call__(self, batch: Batch) -> torch.Tensor:
        """Sum of the cross-entropy over the batch's targets, in nats."""
        batch = to_device(batch, self.precision.device)
        with self._autocast(), _only_predictions(self.model, batch):
            outputs = self.model(
                input_ids=batch.ids, attention_mask=self._mask(batch), use_cache=False, **_positions(batch)
            )
        logits = outputs.logits.reshape(-1, outputs.logits.shape[-1]).float()
        return torch.nn.functional.cross_entropy(logits, batch.targets, reduction="sum")

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.precision.device.type, dtype=torch.bfloat16, enabled=self.precision.uses_autocast)

    def _mask(self, batch: Batch) -> torch.Tensor:
        is_eager = self.model.config._attn_implementation == "eager"  # noqa: SLF001 -- transformers has no public name
        return additive(batch.mask, self.precision.compute) if batch.mask.ndim == 4 and is_eager else batch.mask


def _positions(batch: Batch) -> dict[str, torch.Tensor]:
    return {} if batch.positions is None else {"position_ids": batch.positions}


@contextmanager
def _only_predictions(model: Any, batch: Batch) -> Iterator[None]:
    """Let the output layer see only the positions that predict a target. Virtual tokens may stand before the rows."""

    def select(_: torch.nn.Module, arguments: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor]:
        hidden = arguments[0]
        virtual = hidden.shape[1] - batch.ids.shape[1]
        return (hidden[batch.rows, batch.columns + virtual][None],)

    handle = model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()

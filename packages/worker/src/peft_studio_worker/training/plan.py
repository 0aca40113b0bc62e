"""The steps of a run: which examples each optimizer step sees, from the first to the last.

Everything follows from the config and the examples, so a resumed run takes up at any step without any state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import count
from math import ceil

from attrs import define, frozen

from peft_studio.training_config import TrainingConfig
from peft_studio_worker.training.batches import epoch_batches
from peft_studio_worker.training.examples import Example


@frozen
class Step:
    """One optimizer step: its number from 1, its batches, and how many epochs are done after it."""

    number: int
    batches: list[list[Example]]
    epochs_done: float

    @property
    def ends_epoch(self) -> bool:
        """True for the last step of an epoch."""
        return self.epochs_done.is_integer()

    @property
    def targets(self) -> int:
        """Learnt tokens: what the loss of the step is a mean over."""
        return sum(len(example.targets) for batch in self.batches for example in batch)


@define(slots=False)
class Plan:
    """All steps. With `fills_rows`, a batch is `batch_size` rows filled up to `max_seq_length`."""

    examples: Sequence[Example]
    config: TrainingConfig
    fills_rows: bool

    @cached_property
    def total_steps(self) -> int:
        """Optimizer steps of the whole run."""
        limit = self.config.max_steps
        total = 0
        for epoch in range(self.config.num_epochs):
            total += self._steps_in(epoch)
            if limit is not None and total >= limit:
                return limit
        return total

    @property
    def tokens_per_epoch(self) -> int:
        """Tokens of all examples."""
        return sum(len(example.ids) for example in self.examples)

    def steps(self, after: int = 0) -> Iterator[Step]:
        """The steps that follow step `after`."""
        number = 0
        for epoch in count():
            length = self._steps_in(epoch)
            groups = self.epoch(epoch) if number + length > after else [None] * length
            for index, group in enumerate(groups, start=1):
                number += 1
                if number > self.total_steps:
                    return
                if group is not None and number > after:
                    yield Step(number, group, epoch + index / length)
            if number >= self.total_steps:
                return

    def epoch(self, epoch: int) -> list[list[list[Example]]]:
        """The batches of each step of an epoch."""
        batches = epoch_batches(
            self.examples,
            batch_size=self.config.batch_size,
            seed=self.config.seed,
            epoch=epoch,
            row_tokens=self.config.max_seq_length if self.fills_rows else None,
        )
        size = self.config.gradient_accumulation_steps
        return [batches[start : start + size] for start in range(0, len(batches), size)]

    def _steps_in(self, epoch: int) -> int:
        if self.fills_rows:  # how full the rows get depends on the order
            return len(self.epoch(epoch))
        batches = ceil(len(self.examples) / self.config.batch_size)
        return ceil(batches / self.config.gradient_accumulation_steps)

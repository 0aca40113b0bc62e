"""Batches: which examples, in which rows, and that the arrangement never changes the loss."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import attrs
import pytest
import torch

from peft_studio.training_config import TrainingConfig
from peft_studio_worker.training import model, precision
from peft_studio_worker.training.batches import Layout, collate, epoch_batches, epoch_order, row_length, shared_length
from peft_studio_worker.training.examples import Example
from peft_studio_worker.training.loss import LossFunction
from peft_studio_worker.training.plan import Plan

APART = Layout(shares_rows=False)
#: So cheap a layer that only one row is worth it.
TOGETHER = Layout(shares_rows=True, hidden_size=1, layer_parameters=10**9)


def example(*ids: int, learnt: int = 2) -> Example:
    """An example whose last `learnt` tokens are learnt."""
    return Example(1, ids, tuple(range(len(ids) - learnt, len(ids))))


SIMILAR = [example(9, 8, 7, 6, first, *range(10, 10 + length)) for first, length in ((1, 3), (2, 5), (3, 4), (1, 8))]


def test_the_order_is_a_function_of_seed_and_epoch() -> None:
    """Every epoch has all examples, in an order of its own that is always the same."""
    orders = [epoch_order(50, seed, epoch) for seed in (1, 2) for epoch in (0, 1)]

    assert orders == [epoch_order(50, seed, epoch) for seed in (1, 2) for epoch in (0, 1)]
    assert all(before != after for before, after in pairwise(orders))
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_the_shared_beginning_ends_before_anything_learnt() -> None:
    """What examples have in common is shared up to the token that predicts the first learnt one."""
    assert shared_length([example(1, 2, 3, 4, 5, 6), example(1, 2, 3, 9, 5, 6)]) == 3
    assert shared_length([example(1, 2, 3, 4, learnt=2), example(1, 2, 3, 5, learnt=2)]) == 1
    assert shared_length([example(1, 2, 3), example(4, 2, 3)]) == 0
    assert shared_length([example(1, 2, 3)]) == 0


def test_one_row_computes_the_shared_beginning_once() -> None:
    """Four examples with four tokens in common take the room of one beginning and four ends."""
    batch = collate(SIMILAR, TOGETHER, pad_id=0)

    assert sum(len(each.ids) for each in SIMILAR) - 3 * shared_length(SIMILAR) == batch.ids.shape[1]
    assert batch.ids.shape[0] == 1
    assert row_length(SIMILAR) == batch.ids.shape[1]
    assert sum(len(each.ids) for each in SIMILAR) == batch.tokens


def test_long_examples_get_rows_of_their_own() -> None:
    """Attention grows with the square of a row, so long examples without a common beginning are not put into one."""
    long = [example(*range(start, start + 400)) for start in (0, 1, 2, 3)]

    assert collate(long, Layout(shares_rows=True, hidden_size=64, layer_parameters=1000), pad_id=0).ids.shape[0] == 4


@pytest.fixture(scope="module")
def loss(tiny_model) -> LossFunction:
    """The exact loss of the tiny model."""
    exact = precision.choose("float32")
    return LossFunction(model.load_base(tiny_model, exact, "sdpa").eval(), exact)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_rows_do_not_change_the_loss(loss, attention) -> None:
    """Shared rows, two rows and rows apart give the loss that transformers computes by itself."""
    loss.model.set_attn_implementation(attention)
    two_rows = Layout(shares_rows=True, hidden_size=64, layer_parameters=1)

    losses = [loss(collate(SIMILAR, layout, pad_id=0)).item() for layout in (TOGETHER, two_rows, APART)]

    assert [pytest.approx(plain_loss(loss.model, SIMILAR), rel=1e-5)] * 3 == losses


def test_rows_do_not_change_the_gradient(loss) -> None:
    """The same holds for what is learnt from it."""

    def gradient(layout: Layout) -> torch.Tensor:
        loss.model.zero_grad()
        loss(collate(SIMILAR, layout, pad_id=0)).backward()
        return loss.model.model.layers[0].self_attn.k_proj.weight.grad.clone()

    torch.testing.assert_close(gradient(APART), gradient(TOGETHER), rtol=1e-4, atol=1e-6)


def plain_loss(network: Any, examples: list[Example]) -> float:
    """Sum over all targets, each example alone, without any of our means."""
    total = 0.0
    for each in examples:
        logits = network(input_ids=torch.tensor([each.ids])).logits[0]
        for position in each.targets:
            total -= logits[position - 1].log_softmax(-1)[each.ids[position]].item()
    return total


def config(**settings: Any) -> TrainingConfig:
    """A config with these settings."""
    return TrainingConfig(base_model="m", dataset_path="d", **settings)


def test_a_plan_goes_through_all_examples_each_epoch() -> None:
    """10 examples in batches of 4, two batches a step: two steps an epoch, the second one smaller."""
    examples = [example(number, 1, 2) for number in range(10)]
    steps = list(
        Plan(examples, config(batch_size=4, gradient_accumulation_steps=2, num_epochs=2), fills_rows=False).steps()
    )

    assert [(1, 0.5), (2, 1.0), (3, 1.5), (4, 2.0)] == [(step.number, step.epochs_done) for step in steps]
    assert [[4, 4], [2], [4, 4], [2]] == [[len(batch) for batch in step.batches] for step in steps]
    assert [False, True, False, True] == [step.ends_epoch for step in steps]
    seen = [each for step in steps[:2] for batch in step.batches for each in batch]
    assert examples == sorted(seen, key=lambda each: each.ids)


def test_a_plan_resumes_anywhere() -> None:
    """The steps after step n are the same, whoever asks for them."""
    plan = Plan([example(number, 1, 2) for number in range(10)], config(batch_size=3), fills_rows=False)
    every = list(plan.steps())

    assert all(every[done:] == list(plan.steps(after=done)) for done in range(len(every) + 1))


def test_max_steps_cuts_a_plan_short_or_not_at_all() -> None:
    """It limits the steps; it does not add any."""
    examples = [example(number, 1, 2) for number in range(10)]

    def total(**settings: Any) -> int:
        plan = Plan(examples, config(batch_size=5, num_epochs=2, **settings), fills_rows=False)
        assert plan.total_steps == len(list(plan.steps()))
        return plan.total_steps

    assert [4, 3, 4] == [total(), total(max_steps=3), total(max_steps=100)]


def test_packing_fills_rows_with_whole_examples() -> None:
    """A batch is so many rows, each filled up to the limit; every example is there once."""
    examples = [example(*range(length)) for length in (3, 9, 4, 4, 7, 5, 3, 8)]

    batches = epoch_batches(examples, batch_size=2, seed=1, epoch=0, row_tokens=10)

    assert sorted(map(hash, examples)) == sorted(hash(each) for batch in batches for each in batch)
    assert all(sum(len(each.ids) for each in batch) <= 20 for batch in batches)
    assert len(batches) < 4


def test_padding_is_looked_at_by_nobody() -> None:
    """In rows of unequal length, no token sees the padding, and padding sees only itself."""
    uneven = [example(*range(n)) for n in (3, 4, 5, 9)]
    batch = collate(uneven, Layout(shares_rows=True, hidden_size=10**6, layer_parameters=1), pad_id=0)
    if batch.positions is None:
        assert [len(each.ids) for each in uneven] == batch.mask.sum(dim=1).tolist()
        return
    assert not batch.mask[0, 0, :, -1][:-1].any()


def test_batches_are_values() -> None:
    """A batch does not change once it is made."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        collate(SIMILAR, APART, pad_id=0).tokens = 1  # type: ignore[misc]

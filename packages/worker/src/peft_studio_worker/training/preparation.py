"""From config and data to a loop that is ready for its next step.

Everything that can be refused is refused before the model is loaded.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import torch
from attrs import frozen

from peft_studio.training_config import TrainingConfig
from peft_studio_worker.training import algorithms, artifact, checkpoints, memory, model, precision, sharing
from peft_studio_worker.training.base_model import BaseModel
from peft_studio_worker.training.batches import Layout, row_length
from peft_studio_worker.training.examples import Example
from peft_studio_worker.training.loop import Loop
from peft_studio_worker.training.loss import LossFunction
from peft_studio_worker.training.memory import Demand
from peft_studio_worker.training.plan import Plan
from peft_studio_worker.training.precision import Precision
from peft_studio_worker.training.reporting import Report, say
from peft_studio_worker.training.targets import Skeleton

_SOFTWARE: Final = ("torch", "transformers", "peft", "peft-studio-worker")


@frozen
class Data:
    """The tokenised dataset."""

    training: list[Example]
    validation: list[Example]
    tokenizer: Any


@frozen
class Prepared:
    """A loop, and the adapter's tensors before the first step where the artifact needs them."""

    loop: Loop
    start: dict[str, torch.Tensor] | None


def prepare(config: TrainingConfig, base: BaseModel, data: Data, checkpoint_folder: Path, report: Report) -> Prepared:
    """Check everything, load the model, take up the newest checkpoint, and report `start`."""
    skeleton = Skeleton.of(base.folder)
    layers = algorithms.target_modules(config, skeleton)
    exactness = precision.choose(config.dtype, keep_weights_exact=config.algorithm in algorithms.MUTATING)
    layout = _layout(config, skeleton, exactness, data)
    plan = _plan(config, layout, data, report)
    settings = algorithms.peft_config(config, layers, plan.total_steps, skeleton.hidden_size)
    largest = _largest_batch(plan, layout)
    demand = Demand.of(
        skeleton.config, exactness, parameters=skeleton.parameters, tokens=largest.tokens,
        trainable=algorithms.count_trainable(config, skeleton, settings, layers), predictions=largest.predictions,
        quantisation=algorithms.quantisation(config), gradient_checkpointing=config.gradient_checkpointing,
    )  # fmt: skip
    memory.require(demand, memory.available(exactness.device))

    report("phase", name="loading_model", detail=base.name)
    frozen_model = model.load_base(
        base.folder, exactness, exactness.attention(largest.width), algorithms.quantisation(config)
    )
    adapted = model.adapt(
        frozen_model, settings, seed=config.seed, gradient_checkpointing=config.gradient_checkpointing
    )
    start = _copy_of_start(adapted) if config.algorithm in algorithms.MUTATING else None
    loss = LossFunction(adapted, exactness)
    pad_id = data.tokenizer.pad_token_id or 0
    first = next(plan.steps()).batches[0]
    layout = sharing.verify(loss, layout, skeleton.config.model_type, first, pad_id, report)
    adapted.train()
    loop = Loop(
        config=config, model=adapted, loss=loss, layout=layout, plan=plan, validation=data.validation, pad_id=pad_id,
        checkpoint_folder=checkpoint_folder, report=report,
    )  # fmt: skip
    _resume(loop, report)
    _report_start(loop, data, demand, report)
    return Prepared(loop, start)


def versions() -> dict[str, str]:
    """The software that a result depends on."""
    return {name: version(name) for name in _SOFTWARE}


def _layout(config: TrainingConfig, skeleton: Skeleton, exactness: Precision, data: Data) -> Layout:
    text = skeleton.config.get_text_config()
    longest = max(len(example.ids) for example in [*data.training, *data.validation])
    embeddings = text.vocab_size * skeleton.hidden_size
    return Layout(
        shares_rows=config.algorithm not in algorithms.PROMPT_METHODS and sharing.is_possible(text, longest),
        hidden_size=skeleton.hidden_size,
        layer_parameters=max(1, skeleton.parameters - embeddings) // text.num_hidden_layers,
        attention_cost=exactness.attention_cost,
    )


def _plan(config: TrainingConfig, layout: Layout, data: Data, report: Report) -> Plan:
    if config.packing and not layout.shares_rows:
        message = "packing would change the loss of this model or method; every example gets a row of its own"
        say(report, message, level="warning")
    return Plan(data.training, config, fills_rows=config.packing and layout.shares_rows)


@frozen
class _Size:
    """The largest batch: tokens with padding, predicted tokens, length of the longest row."""

    tokens: int
    predictions: int
    width: int


def _largest_batch(plan: Plan, layout: Layout) -> _Size:
    """Over the first epoch; later ones have the same examples in another order."""
    sizes = [_size(batch, layout) for batches in plan.epoch(0) for batch in batches]
    return _Size(
        tokens=max(size.tokens for size in sizes),
        predictions=max(size.predictions for size in sizes),
        width=max(size.width for size in sizes),
    )


def _size(batch: list[Example], layout: Layout) -> _Size:
    rows = layout.arrange(batch)
    width = max(row_length(row) for row in rows)
    return _Size(len(rows) * width, sum(len(example.targets) for example in batch), width)


def _copy_of_start(adapted: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in artifact.adapter_tensors(adapted).items()}


def _resume(loop: Loop, report: Report) -> None:
    newest = checkpoints.newest(loop.checkpoint_folder)
    if newest is None:
        return
    loop.restore(*checkpoints.load(newest))
    say(report, f"resuming after step {loop.progress.step}")


def _report_start(loop: Loop, data: Data, demand: Demand, report: Report) -> None:
    report(
        "start",
        total_steps=loop.plan.total_steps,
        first_step=loop.progress.step + 1,
        examples=len(data.training),
        validation_examples=len(data.validation),
        tokens_per_epoch=loop.plan.tokens_per_epoch,
        trainable_parameters=sum(weight.numel() for weight in loop.weights.values()),
        total_parameters=demand.parameters,
        algorithm=loop.config.algorithm,
        device=str(loop.loss.precision.device),
        dtype=loop.loss.precision.name,
        versions=versions(),
        memory_estimate=demand.bytes,
    )

"""The training loop: step after step, with everything that may happen between two of them."""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import torch
from attrs import define, field

from peft_studio.errors import InvalidConfig
from peft_studio.training_config import TrainingConfig
from peft_studio_worker.training import checkpoints
from peft_studio_worker.training.adalora import RankBudget
from peft_studio_worker.training.batches import Layout, collate
from peft_studio_worker.training.checkpoints import Progress
from peft_studio_worker.training.examples import Example
from peft_studio_worker.training.loss import LossFunction
from peft_studio_worker.training.model import trainable
from peft_studio_worker.training.plan import Plan, Step
from peft_studio_worker.training.reporting import Report, say
from peft_studio_worker.training.schedule import learning_rate


@define
class Loop:
    """A model in training. `weights` and the optimizer's state are all that changes from step to step."""

    config: TrainingConfig
    model: Any
    loss: LossFunction
    layout: Layout
    plan: Plan
    validation: list[Example]
    pad_id: int
    checkpoint_folder: Path
    report: Report
    progress: Progress = field(factory=Progress)
    weights: dict[str, torch.nn.Parameter] = field(init=False)
    optimizer: torch.optim.AdamW = field(init=False)
    budget: RankBudget | None = field(init=False)
    _recent_seconds: deque[float] = field(init=False, factory=lambda: deque(maxlen=20))

    def __attrs_post_init__(self) -> None:
        self.weights = trainable(self.model)
        self.optimizer = torch.optim.AdamW(
            self.weights.values(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay
        )
        self.budget = RankBudget(self.model) if self.config.algorithm == "adalora" else None

    def run(self, stop: threading.Event, deadline: float) -> bool:
        """Train until the end, a wish to stop, or the `deadline` of `time.monotonic`. True when all steps are done."""
        for step in self.plan.steps(after=self.progress.step):
            if stop.is_set() or time.monotonic() > deadline:
                self._say_why(stop)
                self.save_checkpoint()
                return False
            self._take(step)
            if self.validation and self._is_due(step, self.config.eval_steps):
                self._evaluate()
            if self._is_due(step, self.config.checkpoint_steps):
                self.save_checkpoint()
        return True

    def save_checkpoint(self) -> None:
        """Write a checkpoint of this moment."""
        path = checkpoints.save(self.checkpoint_folder, self.progress, self._tensors())
        self.report("checkpoint", step=self.progress.step, path=str(path))

    def restore(self, progress: Progress, tensors: Mapping[str, torch.Tensor]) -> None:
        """Go on from a checkpoint. Raises `InvalidConfig` when it belongs to another adapter."""
        expected = {f"weight/{name}": weight.shape for name, weight in self.weights.items()}
        found = {name: tensor.shape for name, tensor in tensors.items() if name.startswith("weight/")}
        if expected != found:
            raise InvalidConfig(
                f"the checkpoint of step {progress.step} belongs to another adapter than the job's config describes"
            )
        self.progress = progress
        with torch.no_grad():
            for name, weight in self.weights.items():
                weight.copy_(tensors[f"weight/{name}"])
                self.optimizer.state[weight] = {
                    kind: tensors[f"{kind}/{name}"].to("cpu" if kind == "step" else weight.device, copy=True)
                    for kind in ("step", "exp_avg", "exp_avg_sq")
                    if f"{kind}/{name}" in tensors
                }
        if self.budget is not None:
            self.budget.restore({name: tensor.to(self.loss.precision.device) for name, tensor in tensors.items()})

    def _tensors(self) -> dict[str, torch.Tensor]:
        found: dict[str, torch.Tensor] = {}
        for name, weight in self.weights.items():
            found[f"weight/{name}"] = weight.detach()
            for kind, value in self.optimizer.state[weight].items():
                found[f"{kind}/{name}"] = value
        return found | (self.budget.tensors() if self.budget is not None else {})

    def _take(self, step: Step) -> None:
        started = time.perf_counter()
        rate = learning_rate(self.config, step.number, self.plan.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss, tokens = self._accumulate(step)
        norm = float(torch.nn.utils.clip_grad_norm_(self.weights.values(), self.config.max_grad_norm))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise InvalidConfig(
                f"training diverged at step {step.number}",
                why=f"the loss is {loss:g} and the norm of its gradient {norm:g}",
                remedy="lower learning_rate",
            )
        self.optimizer.step()
        if self.budget is not None:
            self.budget.after_step(step.number)
        self.optimizer.zero_grad()
        self._note(step, loss, tokens, time.perf_counter() - started, learning_rate=rate, grad_norm=norm)

    def _accumulate(self, step: Step) -> tuple[float, int]:
        """Gradients of the mean loss over all learnt tokens of the step, however they are split into batches."""
        total, tokens, learnt = 0.0, 0, step.targets
        for number, examples in enumerate(step.batches):
            torch.manual_seed(_seed_of(self.config.seed, step.number, number))  # dropout
            batch = collate(examples, self.layout, self.pad_id)
            summed = self.loss(batch)
            objective = summed / learnt
            if self.budget is not None:
                objective = objective + self.budget.penalty() / len(step.batches)
            objective.backward()  # type: ignore[no-untyped-call]  # torch
            total += summed.item()
            tokens += batch.tokens
        return total / learnt, tokens

    def _note(self, step: Step, loss: float, tokens: int, seconds: float, **more: float) -> None:
        self._recent_seconds.append(seconds)
        progress = self.progress
        progress.step = step.number
        progress.tokens += tokens
        progress.seconds += seconds
        progress.note_loss(loss)
        pace = sum(self._recent_seconds) / len(self._recent_seconds)
        self.report(
            "step",
            step=step.number,
            epoch=round(step.epochs_done, 4),
            loss=loss,
            **more,
            tokens=tokens,
            tokens_per_second=round(tokens / seconds, 1),
            step_seconds=round(seconds, 4),
            seconds_left=round(pace * (self.plan.total_steps - step.number), 1),
            memory=_memory_in_use(self.loss.precision.device),
        )

    def _evaluate(self) -> None:
        """Report the mean loss over all learnt tokens of the validation examples."""
        self.model.eval()
        summed = 0.0
        with torch.no_grad():
            for start in range(0, len(self.validation), self.config.batch_size):
                examples = self.validation[start : start + self.config.batch_size]
                summed += self.loss(collate(examples, self.layout, self.pad_id)).item()
        self.model.train()
        loss = summed / sum(len(example.targets) for example in self.validation)
        self.progress.evaluations.append([self.progress.step, loss])
        self.report("eval", step=self.progress.step, loss=loss)

    def _is_due(self, step: Step, every: int | None) -> bool:
        if step.number == self.plan.total_steps:
            return True
        return step.ends_epoch if every is None else step.number % every == 0

    def _say_why(self, stop: threading.Event) -> None:
        reason = "asked to" if stop.is_set() else f"max_duration of {self.config.max_duration:g} s is over"
        say(self.report, f"stopping with a checkpoint after step {self.progress.step}: {reason}", level="warning")


def _seed_of(seed: int, step: int, batch: int) -> int:
    """A seed for one batch, the same in every run."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{step}/{batch}".encode()).digest()[:8], "little") >> 1


def _memory_in_use(device: torch.device) -> int:
    """Bytes: of the process on a CPU, the peak of the device otherwise."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return int(psutil.Process().memory_info().rss)

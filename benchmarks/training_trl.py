"""TRL's SFTTrainer as it comes, told only what the comparison needs. Runs in TRL's environment.

`use_cpu`, without which it does not start here; the hyper-parameters that all trainers share; no shuffling, since the
data is in order; a loss for every step. Everything else is TRL's default: bfloat16, gradient checkpointing.
"""

from __future__ import annotations

import sys
import tempfile
import time
from typing import Any

from datasets import Dataset
from peft import LoraConfig
from training_settings import Settings, tell
from transformers import TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer


class Clock(TrainerCallback):
    """Notes when each step ended."""

    def __init__(self) -> None:
        self.stamps: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """After the optimizer's step."""
        self.stamps.append(time.perf_counter())


def main(settings: Settings) -> None:
    """Train, save the adapter, tell how it went."""
    set_seed(settings.seed)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        arguments = SFTConfig(
            output_dir=folder,
            use_cpu=True,
            per_device_train_batch_size=settings.batch_size,
            max_steps=settings.steps,
            learning_rate=settings.learning_rate,
            seed=settings.seed,
            train_sampling_strategy="sequential",
            logging_steps=1,
            report_to="none",
        )
        lora = LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules="all-linear")
        trainer = SFTTrainer(
            settings.model,
            arguments,
            train_dataset=Dataset.from_list(settings.rows()),
            peft_config=lora,
            callbacks=[clock],
        )
        trainer.train()
        trainer.save_model(folder)
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    lengths = [len(ids) for ids in trainer.train_dataset["input_ids"]]
    starts = range(0, len(lengths), settings.batch_size)
    tell(clock.stamps, losses, [sum(lengths[start : start + settings.batch_size]) for start in starts])


if __name__ == "__main__":
    main(Settings.load(sys.argv[1]))

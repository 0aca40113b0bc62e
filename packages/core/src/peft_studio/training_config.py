"""`TrainingConfig`: everything a fine-tuning job is, in the words of PEFT and TRL, whatever the platform."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self

import attrs

from peft_studio._settings import (
    addresses,
    choice,
    complaint,
    complaints,
    duration,
    flag,
    integer,
    money,
    names,
    real,
    text,
)
from peft_studio.errors import InvalidConfig
from peft_studio.models import Problem

#: PEFT methods that the worker knows by name.
ALGORITHMS = (
    "lora", "qlora", "dora", "rslora", "pissa", "olora", "adalora", "loha", "lokr", "ia3", "oft", "boft", "vera",
    "ln_tuning", "prompt_tuning", "p_tuning", "prefix_tuning",
)  # fmt: skip
MODEL_SOURCES = ("auto", "local", "gguf", "huggingface")
QUANTIZATIONS = ("nf4", "fp4", "int8")
LR_SCHEDULERS = ("linear", "cosine", "constant", "constant_with_warmup")
DTYPES = ("auto", "float32", "bfloat16")


@attrs.frozen(kw_only=True)
class TrainingConfig:
    """One fine-tuning job. Raises `InvalidConfig` with every fault at once; paths are checked when the job starts.

    Each field's meaning, unit and default is in its `help`; `docs/reference/config.md` is made from it.
    """

    base_model: str = text(help="model to fine-tune: a folder, a .gguf file, or a Hugging Face id")
    dataset_path: str = text(help="training data: .jsonl, .json, .csv or .parquet")
    dataset_name: str | None = text(None, help="name of the data in the model card; its file's name unless given")
    model_source: str = choice(MODEL_SOURCES, "auto", help="where base_model is; auto looks at the path first")

    algorithm: str = choice(ALGORITHMS, "lora", help="PEFT method")
    rank: int = integer(16, minimum=1, help="rank of the adapter matrices (PEFT: r)")
    alpha: float = real(
        attrs.Factory(lambda self: _twice(self.rank), takes_self=True),
        above=0,
        help="scale of the adapter (PEFT: lora_alpha); twice the rank unless given",
    )
    dropout: float = real(0.0, minimum=0, below=1, help="dropout inside the adapter (PEFT: lora_dropout)")
    target_modules: str | tuple[str, ...] = names(
        "all-linear", words=("all-linear",), help="names of the layers to adapt, or all-linear"
    )
    num_virtual_tokens: int = integer(20, minimum=1, help="length of the prompt, for prompt and prefix methods")
    quantization: str | None = choice(QUANTIZATIONS, None, help="bitsandbytes type of the base model's weights")

    learning_rate: float = real(2e-4, above=0, help="peak learning rate of AdamW")
    lr_scheduler_type: str = choice(LR_SCHEDULERS, "linear", help="shape of the learning rate after the warm-up")
    warmup_steps: int = integer(0, minimum=0, help="optimizer steps until the peak learning rate")
    weight_decay: float = real(0.0, minimum=0, help="weight decay of AdamW")
    max_grad_norm: float = real(1.0, above=0, help="gradients are clipped to this norm")
    batch_size: int = integer(4, minimum=1, help="examples a device takes at once")
    gradient_accumulation_steps: int = integer(1, minimum=1, help="batches per optimizer step")
    gradient_checkpointing: bool = flag(False, help="recompute activations: less memory, slower")
    num_epochs: int = integer(3, minimum=1, help="passes over the data")
    max_steps: int | None = integer(None, minimum=1, help="stop after so many optimizer steps, before num_epochs")

    max_seq_length: int = integer(1024, minimum=8, help="longest example, in tokens; longer ones are refused")
    packing: bool = flag(False, help="fill each row of a batch up to max_seq_length with whole examples")
    completion_only_loss: bool = flag(True, help="learn the answers only, not the prompts")
    dtype: str = choice(DTYPES, "auto", help="precision of the computation; float32 is the exact mode")
    validation_split: float = real(0.0, minimum=0, below=1, help="share of the examples kept back for validation")
    eval_steps: int | None = integer(None, minimum=1, help="optimizer steps between validations; else once an epoch")
    checkpoint_steps: int | None = integer(
        None, minimum=1, help="optimizer steps between checkpoints; else once an epoch"
    )
    seed: int = integer(42, minimum=0, help="seed of data order, initial weights and dropout")

    provider: str | None = text(None, help="connector to run on")
    resource_id: str | None = text(None, help="resource of that connector; unset lets it choose")
    experiment_tracker: tuple[str, ...] = names((), single=True, help="trackers that get the metrics")
    project_name: str | None = text(None, help="project at the trackers, and part of the job's name")
    output_dir: str | None = text(None, help="folder that gets the adapter; must be new or empty")
    push_to: tuple[str, ...] = addresses((), help="registries that get the adapter, such as huggingface:me/my-adapter")
    max_duration: float | None = duration(
        None, help='longest run, seconds or "90m", "2h"; then it stops with a checkpoint'
    )
    max_cost: Decimal | None = money(  # noqa: RUF009 -- makes a field, as the others do
        None, help="highest total cost, US dollars; then it stops with a checkpoint"
    )
    tag: str | None = text(None, help="unique name of this submission; set by ConnectorManager, names the resource")

    def __attrs_post_init__(self) -> None:
        problems = [Problem(field=name, message=message) for name, message in complaints(self)]
        if problems:
            raise InvalidConfig.from_problems("training config", problems)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """A config from plain data; unknown keys and missing ones are refused by name, with what may be meant."""
        known = {attribute.name: attribute for attribute in attrs.fields(cls)}
        problems = []
        for key, value in values.items():
            if key not in known:
                problems.append(_unknown_key(key, list(known)))
            elif message := complaint(known[key], value):
                problems.append(Problem(field=key, message=message))
        problems += [
            Problem(field=name, message=f"{name} is missing")
            for name, attribute in known.items()
            if attribute.default is attrs.NOTHING and name not in values
        ]
        if problems:
            raise InvalidConfig.from_problems("training config", problems)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: money as a string, lists as lists, unset fields left out."""
        return {name: _plain(value) for name, value in attrs.asdict(self).items() if value not in (None, ())}

    @property
    def told_dataset_name(self) -> str:
        """`dataset_name`, or the name of the file, of which no folder of this machine is told."""
        return self.dataset_name or Path(self.dataset_path).name

    @property
    def output_path(self) -> Path | None:
        """`output_dir` as an absolute path."""
        return None if self.output_dir is None else Path(self.output_dir).expanduser().absolute()


def _twice(rank: Any) -> float:
    """Alpha's default; a wrong rank has its own complaint."""
    return 2.0 * rank if isinstance(rank, int) and rank > 0 else 1.0


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


def _unknown_key(key: str, known: list[str]) -> Problem:
    guesses = get_close_matches(key, known, n=1, cutoff=0.6)
    suggestion = _OTHER_WORDS.get(key) or (guesses[0] if guesses else None)
    return Problem(field=key, message=f"unknown key {key!r}", suggestion=suggestion)


#: What neighbours call our fields (PEFT, TRL, axolotl, LLaMA-Factory, Together), for the suggestion.
_OTHER_WORDS = {
    "r": "rank", "lora_r": "rank", "lora_rank": "rank", "lora_alpha": "alpha", "lora_dropout": "dropout",
    "lora_target_modules": "target_modules", "lora_target": "target_modules", "adapter": "algorithm",
    "finetuning_type": "algorithm", "peft_type": "algorithm", "model_name_or_path": "base_model",
    "model": "base_model", "dataset": "dataset_path", "datasets": "dataset_path", "lr": "learning_rate",
    "per_device_train_batch_size": "batch_size", "micro_batch_size": "batch_size", "num_train_epochs": "num_epochs",
    "n_epochs": "num_epochs", "epochs": "num_epochs", "lr_scheduler": "lr_scheduler_type",
    "max_length": "max_seq_length",
    "sequence_len": "max_seq_length", "cutoff_len": "max_seq_length", "sample_packing": "packing",
    "val_size": "validation_split", "val_set_size": "validation_split", "save_steps": "checkpoint_steps",
    "bf16": "dtype", "fp16": "dtype", "load_in_4bit": "quantization", "load_in_8bit": "quantization",
    "report_to": "experiment_tracker", "hub_model_id": "push_to", "push_to_hub": "push_to",
    "train_on_inputs": "completion_only_loss", "random_seed": "seed",
}  # fmt: skip

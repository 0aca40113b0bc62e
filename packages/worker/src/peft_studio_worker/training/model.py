"""Load the base model and put the adapter on it."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from peft_studio.errors import InvalidConfig
from peft_studio_worker.training.precision import Precision

if TYPE_CHECKING:
    from peft import PeftConfig


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder. Raises `InvalidConfig` without one that tells where in the text a token is."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, OSError, KeyError) as error:
        reason = str(error).strip().split("\n", 1)[0]
        raise InvalidConfig(f"the tokenizer in {folder} cannot be loaded", why=reason[:300]) from error
    if not tokenizer.is_fast:
        raise InvalidConfig(f"the tokenizer in {folder} has no tokenizer.json, which the trainer needs")
    return tokenizer


def load_base(folder: Path, precision: Precision, attention: str, quantisation: str | None = None) -> Any:
    """The base model on its device. Only safetensors are read, and nothing is looked up online."""
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # each redraw would become a line of the job's log
    # Where it is installed, it tells every job, also one that does not use it, which faster kernels it could not find.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    options: dict[str, Any] = {}
    if quantisation is not None:
        options = {"quantization_config": _bitsandbytes(quantisation, precision), "device_map": str(precision.device)}
    model: Any = AutoModelForCausalLM.from_pretrained(
        folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=precision.weights,
        attn_implementation=attention, **options,
    )  # fmt: skip
    return model if quantisation is not None else model.to(precision.device)


def adapt(base: Any, settings: PeftConfig, *, seed: int, gradient_checkpointing: bool) -> Any:
    """The model with a fresh adapter, float32 whatever the base is. The same seed gives the same adapter."""
    from peft import get_peft_model

    if gradient_checkpointing:
        base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    torch.manual_seed(seed)
    with warnings.catch_warnings():
        # On every CPU BOFT says that its CUDA kernel could not be built, and works without it; LN tuning does not know
        # norm layers that are not torch's own, and trains them all the same.
        expected = "Failed to load the CUDA extension|Setting boft_n_butterfly|Unsupported layer type"
        warnings.filterwarnings("ignore", message=expected)
        model = get_peft_model(base, settings)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model


def trainable(model: Any) -> dict[str, torch.nn.Parameter]:
    """The adapter's weights by name, in the model's order."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _bitsandbytes(kind: str, precision: Precision) -> Any:
    from transformers import BitsAndBytesConfig

    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=precision.compute,
    )  # fmt: skip

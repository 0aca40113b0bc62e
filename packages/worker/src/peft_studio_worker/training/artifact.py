"""The artifact: a PEFT adapter folder that loads anywhere, with tokenizer, model card and manifest.

It appears under its name in one rename. PEFT's own `save_pretrained` would write the path of the base model on this
machine, and the layers in an order that changes from run to run.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from attrs import frozen
from safetensors import SafetensorError
from safetensors.torch import save_file

from peft_studio.artifacts import Manifest, put_in_place, write_manifest
from peft_studio.training_config import TrainingConfig
from peft_studio_worker.training import checkpoints
from peft_studio_worker.training.base_model import BaseModel
from peft_studio_worker.training.checkpoints import Progress
from peft_studio_worker.training.model_card import Licence, model_card

#: Which base model and settings made the adapter, for programs.
RECORD_NAME: Final = "peft_studio.json"
#: Settings that say something of the user's machine, not of the adapter.
_PRIVATE: Final = (
    "base_model",
    "dataset_path",
    "output_dir",
    "provider",
    "resource_id",
    "tag",
    "max_cost",
    "max_duration",
    "experiment_tracker",
    "push_to",
)


@frozen
class Made:
    """Everything that an artifact tells: what was trained, on what, with which result."""

    config: TrainingConfig
    base: BaseModel
    model: Any
    tokenizer: Any
    progress: Progress
    examples: int
    tokens_per_epoch: int
    versions: Mapping[str, str]
    #: The adapter before the first step, for methods that change the base weights to fit it.
    start: Mapping[str, torch.Tensor] | None


def write(made: Made, destination: Path) -> Manifest:
    """Write the artifact to `destination`. Raises `InvalidConfig` when it cannot be stored."""
    partial = destination.with_name(f".{destination.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        manifest = _fill(made, partial)
        checkpoints.force_to_disk(partial)
        put_in_place(partial, destination)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise checkpoints.not_written("the adapter", destination.parent, error) from error
    return manifest


def adapter_tensors(model: Any) -> dict[str, torch.Tensor]:
    """The adapter's tensors under PEFT's names."""
    from peft import get_peft_model_state_dict

    tensors = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def _fill(made: Made, folder: Path) -> Manifest:
    tensors = adapter_tensors(made.model)  # before the settings: AdaLoRA brings them up to date here
    settings = copy.deepcopy(made.model.peft_config["default"])
    if made.start is not None:
        tensors = _as_plain_lora(tensors, made.start)
        settings.r, settings.lora_alpha, settings.init_lora_weights = 2 * settings.r, 2 * settings.lora_alpha, True
    settings.base_model_name_or_path = made.base.name
    settings.revision = made.base.revision
    settings.inference_mode = True
    for name in ("target_modules", "feedforward_modules"):
        if isinstance(getattr(settings, name, None), set | list):
            setattr(settings, name, sorted(getattr(settings, name)))
    settings.save_pretrained(str(folder))
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    made.tokenizer.save_pretrained(str(folder))
    (folder / RECORD_NAME).write_text(json.dumps(_record(made), indent=2) + "\n", encoding="utf-8")
    card = model_card(
        made.config, made.base, made.progress,
        examples=made.examples, tokens=made.tokens_per_epoch, versions=made.versions,
    )  # fmt: skip
    (folder / "README.md").write_text(card, encoding="utf-8")
    return write_manifest(folder)


def _as_plain_lora(trained: Mapping[str, torch.Tensor], start: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same change as a LoRA of twice the rank on the untouched base: trained pair minus the pair at the start.

    Without it only PEFT could use the adapter, and only by decomposing the base weights again.
    """
    stacked = {}
    for name, tensor in trained.items():
        is_first = "lora_A" in name
        first = start[name] if is_first else -start[name]
        stacked[name] = torch.cat([tensor, first], dim=0 if is_first else 1).contiguous()
    return stacked


def _record(made: Made) -> dict[str, Any]:
    licence = Licence.of(made.base.folder)
    return {
        "format": 1,
        "base_model": {
            "name": made.base.name,
            "source": made.base.source,
            "revision": made.base.revision,
            "fingerprint": made.base.fingerprint,
            "license": licence.identifier,
        },
        "config": {name: value for name, value in made.config.to_dict().items() if name not in _PRIVATE},
        "steps": made.progress.step,
        "tokens": made.progress.tokens,
        "first_loss": made.progress.first_loss,
        "last_loss": made.progress.last_loss,
        "evaluations": made.progress.evaluations,
        "examples": made.examples,
        "seconds": round(made.progress.seconds, 1),
        "versions": dict(made.versions),
    }

"""Which layers of a model an adapter goes to, found out on a skeleton without weights.

PEFT accepts `all-linear` too, but writes it out in an order that changes from run to run, and answers names that match
nothing only after the model is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from attrs import frozen

from peft_studio.errors import InvalidConfig
from peft_studio.models import Problem

#: Inputs, not outputs, of these layers are scaled by IA3 (feed-forward layers, by their names in the known models).
_FEED_FORWARD = frozenset({"down_proj", "fc2", "w2", "dense_4h_to_h", "fc_out"})


@frozen
class Skeleton:
    """The model without its weights: everything on the meta device, which takes no memory."""

    config: Any
    model: Any

    @classmethod
    def of(cls, folder: Path) -> Skeleton:
        """Read `config.json`. Raises `InvalidConfig` for models that transformers cannot train as they are."""
        from transformers import AutoConfig, AutoModelForCausalLM

        try:
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            with torch.device("meta"):
                model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
        except (ValueError, KeyError, OSError) as error:
            reason = str(error).strip().split("\n", 1)[0]
            raise InvalidConfig(
                f"base_model {folder} is not a causal language model that transformers knows", why=reason[:300]
            ) from error
        return cls(config, model)

    @property
    def parameters(self) -> int:
        """Number of weights; tied ones count once."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def hidden_size(self) -> int:
        """Width of the hidden states."""
        size: int = self.config.get_text_config().hidden_size
        return size

    def linear_layers(self) -> dict[str, tuple[int, int]]:
        """Full names of the linear layers except the output layer, with their (input, output) widths."""
        from transformers.pytorch_utils import Conv1D

        output = self.model.get_output_embeddings()
        layers = {}
        for name, module in self.model.named_modules():
            if module is output:
                continue
            if isinstance(module, torch.nn.Linear):
                layers[name] = (module.in_features, module.out_features)
            elif isinstance(module, Conv1D):
                layers[name] = (module.nx, module.nf)
        return layers

    def norm_layers(self) -> list[str]:
        """Full names of the normalisation layers."""
        return [name for name, module in self.model.named_modules() if "Norm" in type(module).__name__]


def resolve(skeleton: Skeleton, wanted: str | Sequence[str], *, norms: bool = False) -> list[str]:
    """The names for PEFT's `target_modules`, sorted. Raises `InvalidConfig` when one of them matches nothing."""
    suitable = skeleton.norm_layers() if norms else list(skeleton.linear_layers())
    if isinstance(wanted, str):
        return _short_names(suitable, [name for name, _ in skeleton.model.named_modules()])
    unmatched = [name for name in wanted if not _matches(name, suitable)]
    if unmatched:
        kind = "normalisation layers" if norms else "linear layers"
        exist = ", ".join(sorted({_last(name) for name in suitable})) or "none"
        message = f"target_modules {', '.join(unmatched)} match nothing in the model; its {kind} are {exist}"
        raise InvalidConfig(message, problems=[Problem(message=message, field="target_modules")])
    return sorted(set(wanted))


def feed_forward(targets: Iterable[str]) -> list[str]:
    """Those of `targets` whose input IA3 scales."""
    return [name for name in targets if _last(name) in _FEED_FORWARD]


def matched_widths(skeleton: Skeleton, targets: Sequence[str]) -> list[tuple[int, int]]:
    """(input, output) widths of every linear layer that `targets` name."""
    return [
        widths
        for name, widths in skeleton.linear_layers().items()
        if any(_matches(target, [name]) for target in targets)
    ]


def _matches(target: str, names: Iterable[str]) -> bool:
    return any(name == target or name.endswith(f".{target}") for name in names)


def _short_names(suitable: Sequence[str], everything: Sequence[str]) -> list[str]:
    """Last parts of the names, as long as they name nothing else; PEFT matches names from their end."""
    wanted = set(suitable)
    short: set[str] = set()
    for name in suitable:
        last = _last(name)
        also = {other for other in everything if _last(other) == last}
        short.add(last if also <= wanted and not last.isdigit() else name)
    return sorted(short)


def _last(name: str) -> str:
    return name.rpartition(".")[2]

"""What AdaLoRA does beside training: it keeps its matrices orthogonal and gives rank to the layers that use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from attrs import frozen

_IMPORTANCE: Final = ("ipt", "exp_avg_ipt", "exp_avg_unc")


@frozen
class RankBudget:
    """The budget of a PEFT model with an AdaLoRA adapter."""

    model: Any

    @property
    def _settings(self) -> Any:
        return self.model.peft_config["default"]

    def penalty(self) -> torch.Tensor:
        """How far the matrices are from orthogonal: the regularisation of the paper, equation 4."""
        distances = [_distance(name, weight) for name, weight in self.model.named_parameters() if _is_factor(name)]
        weight: float = self._settings.orth_reg_weight
        return weight * torch.stack(distances).mean()

    def after_step(self, step: int) -> None:
        """Move the budget; needs the step's gradients."""
        self.model.base_model.update_and_allocate(step)

    def tensors(self) -> dict[str, torch.Tensor]:
        """What a checkpoint must hold of it."""
        allocator = self.model.base_model.rankallocator
        found = {f"{kind}/{name}": value for kind in _IMPORTANCE for name, value in getattr(allocator, kind).items()}
        pattern = self._settings.rank_pattern or {}
        return found | {f"rank_pattern/{name}": torch.tensor(kept) for name, kept in pattern.items()}

    def restore(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Take up what `tensors` gave."""
        allocator = self.model.base_model.rankallocator
        for kind in _IMPORTANCE:
            setattr(allocator, kind, _below(kind, tensors))
        pattern = {name: kept.tolist() for name, kept in _below("rank_pattern", tensors).items()}
        self._settings.rank_pattern = pattern or None


def _below(kind: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    prefix = f"{kind}/"
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _is_factor(name: str) -> bool:
    return "lora_A" in name or "lora_B" in name


def _distance(name: str, weight: torch.Tensor) -> torch.Tensor:
    covariance = weight @ weight.T if "lora_A" in name else weight.T @ weight
    distance: torch.Tensor = torch.linalg.matrix_norm(covariance - torch.eye(len(covariance), device=weight.device))
    return distance

"""PEFT methods: which configuration each one gets, and what refuses it before the model is loaded.

`rank` is PEFT's `r` wherever the method has one. What a method has no use for is said, not dropped in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

import attrs

from peft_studio.errors import InvalidConfig, UnsupportedCapability
from peft_studio.training_config import TrainingConfig
from peft_studio_worker.training import targets
from peft_studio_worker.training.targets import Skeleton

if TYPE_CHECKING:
    from peft import PeftConfig

PROMPT_METHODS: Final = frozenset({"prompt_tuning", "p_tuning", "prefix_tuning"})
#: Plain low-rank matrices beside the weights.
LORA_FAMILY: Final = frozenset({"lora", "qlora", "dora", "rslora", "pissa", "olora"})
#: They start from a decomposition of the base weights, and change those. PEFT's names; 16 iterations of a randomised
#: decomposition are as good as the full one, which takes minutes even for a small model.
MUTATING: Final = {"pissa": "pissa_niter_16", "olora": "olora"}
_QUANTISABLE: Final = frozenset({"lora", "qlora", "dora", "rslora", "adalora", "ia3"})
_BOFT_BLOCK: Final = 4

_NO_RANK: Final = PROMPT_METHODS | {"ia3", "ln_tuning", "boft"}
_NO_DROPOUT: Final = PROMPT_METHODS | {"ia3", "ln_tuning"}
_NO_ALPHA: Final = _NO_RANK | {"oft", "vera"}


def check(config: TrainingConfig) -> None:
    """Raise when this machine or this method cannot do what `config` asks; needs no model."""
    method = config.algorithm
    if quantisation(config) is not None:
        _check_quantisation(config)
    if method in PROMPT_METHODS and config.target_modules != "all-linear":
        raise InvalidConfig(f"{method} adapts no layers", remedy="leave out target_modules")
    if method == "prefix_tuning" and config.gradient_checkpointing:
        raise InvalidConfig(
            "prefix_tuning does not work with gradient_checkpointing", remedy="set gradient_checkpointing to false"
        )


def quantisation(config: TrainingConfig) -> str | None:
    """The bitsandbytes type of the base weights; qlora means nf4 unless said otherwise."""
    return config.quantization or ("nf4" if config.algorithm == "qlora" else None)


def ignored_settings(config: TrainingConfig) -> list[str]:
    """Fields that the user set and the method has no use for."""
    defaults = {attribute.name: attribute.default for attribute in attrs.fields(TrainingConfig)}
    has_alpha = config.alpha != 2.0 * config.rank
    found = {
        "rank": config.algorithm in _NO_RANK and config.rank != defaults["rank"],
        "alpha": config.algorithm in _NO_ALPHA and has_alpha and config.algorithm not in _NO_RANK,
        "dropout": config.algorithm in _NO_DROPOUT and config.dropout > 0,
        "num_virtual_tokens": config.algorithm not in PROMPT_METHODS
        and config.num_virtual_tokens != defaults["num_virtual_tokens"],
    }
    return [name for name, is_ignored in found.items() if is_ignored]


def target_modules(config: TrainingConfig, skeleton: Skeleton) -> list[str]:
    """The layers to adapt; none for prompt methods. Raises `InvalidConfig` when a name matches nothing."""
    if config.algorithm in PROMPT_METHODS:
        return []
    return targets.resolve(skeleton, config.target_modules, norms=config.algorithm == "ln_tuning")


def peft_config(config: TrainingConfig, layers: Sequence[str], total_steps: int, hidden_size: int) -> PeftConfig:
    """The configuration for PEFT. Raises `InvalidConfig` with PEFT's reason when it refuses the values."""
    build = _BUILDERS.get(config.algorithm, _lora)
    try:
        return build(config, list(layers), total_steps, hidden_size)
    except ValueError as error:
        raise InvalidConfig(f"{config.algorithm} refuses the settings", why=str(error)) from error


def count_trainable(config: TrainingConfig, skeleton: Skeleton, settings: PeftConfig, layers: Sequence[str]) -> int:
    """How many weights would be trained; leaves `skeleton` changed. Raises `InvalidConfig` where PEFT refuses it."""
    if config.algorithm == "boft":  # it computes its block layout with real numbers, which the skeleton has not
        widths = targets.matched_widths(skeleton, layers)
        wrong = [inner for inner, _ in widths if inner % _BOFT_BLOCK]
        if wrong:
            raise InvalidConfig(f"boft needs layer widths that {_BOFT_BLOCK} divides", why=f"one is {wrong[0]}")
        return sum(inner * _BOFT_BLOCK + outer for inner, outer in widths)
    import torch
    from peft import get_peft_model

    try:
        with torch.device("meta"):
            adapted = get_peft_model(skeleton.model, settings)
    except (ValueError, TypeError, NotImplementedError) as error:
        raise InvalidConfig(f"{config.algorithm} cannot be used with this model", why=str(error)) from error
    return sum(parameter.numel() for parameter in adapted.parameters() if parameter.requires_grad)


def _check_quantisation(config: TrainingConfig) -> None:
    if config.algorithm not in _QUANTISABLE:
        raise InvalidConfig(
            f"{config.algorithm} cannot be trained on a quantized model",
            remedy=f"leave out quantization, or use {', '.join(sorted(_QUANTISABLE))}",
        )
    if find_spec("bitsandbytes") is None:
        asked = "qlora" if config.algorithm == "qlora" else f"quantization {config.quantization}"
        raise UnsupportedCapability(
            f"{asked} cannot run on this machine",
            why="bitsandbytes is not installed",
            remedy="install peft-studio-worker[quantize], or use lora",
        )


def _lora(config: TrainingConfig, layers: list[str], total_steps: int, hidden_size: int) -> PeftConfig:
    from peft import LoraConfig

    start: dict[str, Any] = {"init_lora_weights": MUTATING[config.algorithm]} if config.algorithm in MUTATING else {}
    return LoraConfig(
        task_type="CAUSAL_LM", target_modules=layers, r=config.rank, lora_alpha=_whole(config.alpha),
        lora_dropout=config.dropout, use_dora=config.algorithm == "dora", use_rslora=config.algorithm == "rslora",
        **start,
    )  # fmt: skip


def _adalora(config: TrainingConfig, layers: list[str], total_steps: int, hidden_size: int) -> PeftConfig:
    """Starts at one and a half times the rank, and prunes to it between the first tenth and the last third."""
    from peft import AdaLoraConfig

    return AdaLoraConfig(
        task_type="CAUSAL_LM", target_modules=layers, target_r=config.rank, init_r=config.rank + (config.rank + 1) // 2,
        lora_alpha=_whole(config.alpha), lora_dropout=config.dropout, total_step=total_steps, tinit=total_steps // 10,
        tfinal=total_steps // 3, deltaT=max(1, total_steps // 100),
    )  # fmt: skip


def _loha(config: TrainingConfig, layers: list[str], total_steps: int, hidden_size: int) -> PeftConfig:
    from peft import LoHaConfig

    return LoHaConfig(
        task_type="CAUSAL_LM", target_modules=layers, r=config.rank, alpha=_whole(config.alpha),
        module_dropout=config.dropout,
    )  # fmt: skip


def _lokr(config: TrainingConfig, layers: list[str], total_steps: int, hidden_size: int) -> PeftConfig:
    from peft import LoKrConfig

    return LoKrConfig(
        task_type="CAUSAL_LM", target_modules=layers, r=config.rank, alpha=_whole(config.alpha),
        module_dropout=config.dropout,
    )  # fmt: skip


def _ia3(config: TrainingConfig, layers: list[str], total_steps: int, hidden_size: int) -> PeftConfig:
    from peft import IA3Config

    return IA3Config(task_type="CAUSAL_LM", target_modules=layers, feedforward_modules=targets.feed_forward(layers))


def _oft(config: TrainingConfig, layers: list[str], total_steps: int, hidden_size: int) -> PeftConfig:
    from peft import OFTConfig

    return OFTConfig(
        task_type="CAUSAL_LM", target_modules=layers, r=config.rank, oft_block_size=0, module_dropout=config.dropout
    )


def _boft(config: TrainingConfig, layers: list[str], total_steps: int, hidden_size: int) -> PeftConfig:
    from peft import BOFTConfig

    return BOFTConfig(
        task_type="CAUSAL_LM", target_modules=layers, boft_block_size=_BOFT_BLOCK, boft_dropout=config.dropout
    )


def _vera(config: TrainingConfig, layers: list[str], total_steps: int, hidden_size: int) -> PeftConfig:
    from peft import VeraConfig

    return VeraConfig(
        task_type="CAUSAL_LM", target_modules=layers, r=config.rank, vera_dropout=config.dropout,
        projection_prng_key=config.seed,
    )  # fmt: skip


def _ln_tuning(config: TrainingConfig, layers: list[str], total_steps: int, hidden_size: int) -> PeftConfig:
    from peft import LNTuningConfig

    return LNTuningConfig(task_type="CAUSAL_LM", target_modules=layers)


def _prompt_tuning(config: TrainingConfig, layers: list[str], total_steps: int, hidden_size: int) -> PeftConfig:
    from peft import PromptTuningConfig

    return PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=config.num_virtual_tokens)


def _p_tuning(config: TrainingConfig, layers: list[str], total_steps: int, hidden_size: int) -> PeftConfig:
    from peft import PromptEncoderConfig

    return PromptEncoderConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=config.num_virtual_tokens, encoder_hidden_size=hidden_size
    )


def _prefix_tuning(config: TrainingConfig, layers: list[str], total_steps: int, hidden_size: int) -> PeftConfig:
    from peft import PrefixTuningConfig

    return PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=config.num_virtual_tokens)


def _whole(alpha: float) -> Any:
    """PEFT writes alpha as it is; other tools that read the adapter expect 32, not 32.0."""
    return int(alpha) if alpha.is_integer() else alpha


_BUILDERS: Final = {
    "adalora": _adalora, "loha": _loha, "lokr": _lokr, "ia3": _ia3, "oft": _oft, "boft": _boft, "vera": _vera,
    "ln_tuning": _ln_tuning, "prompt_tuning": _prompt_tuning, "p_tuning": _p_tuning, "prefix_tuning": _prefix_tuning,
}  # fmt: skip

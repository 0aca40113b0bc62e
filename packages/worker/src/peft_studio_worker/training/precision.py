"""Where and how exactly to compute: device, number type, attention.

bfloat16 halves the time on a CPU that has it in hardware and is many times slower on one that has not, so `auto` looks.
Adapter weights are float32 in every mode. `float32` is the exact mode: the loss of a plain loop, digit by digit.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import psutil
import torch
from attrs import frozen

#: Longest row, in tokens, for which writing out the attention matrix beats torch's fused kernel on a CPU in bfloat16.
_EAGER_ATTENTION_LIMIT: Final = 512
_BF16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


@frozen
class Precision:
    """`compute` is the type of the matrix products, `weights` that of the base model in memory."""

    device: torch.device
    compute: torch.dtype
    weights: torch.dtype

    @property
    def uses_autocast(self) -> bool:
        """True when products are computed in another type than float32."""
        return self.compute != torch.float32

    @property
    def name(self) -> str:
        """`float32` or `bfloat16`."""
        return str(self.compute).removeprefix("torch.")

    @property
    def attention_cost(self) -> float:
        """How much dearer a multiplication is in attention than in the large products; measured on a CPU."""
        return 4.0 if self.uses_autocast else 1.3

    def attention(self, longest_row: int) -> str:
        """The attention implementation, in transformers' words, for rows of up to so many tokens."""
        is_short = longest_row <= _EAGER_ATTENTION_LIMIT
        return "eager" if self.device.type == "cpu" and self.uses_autocast and is_short else "sdpa"


def choose(dtype: str, *, keep_weights_exact: bool = False) -> Precision:
    """The precision for `dtype` ("auto", "float32", "bfloat16") on this machine's best device."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    compute = torch.float32 if dtype == "float32" or (dtype == "auto" and not _has_bfloat16(device)) else torch.bfloat16
    return Precision(device, compute, torch.float32 if keep_weights_exact else compute)


def threads() -> int:
    """One thread for each core that we may use: a second one on the same core only gets in its way."""
    if "OMP_NUM_THREADS" in os.environ:
        return torch.get_num_threads()
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(psutil.cpu_count(logical=False) or allowed, allowed)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return not _BF16_FLAGS.isdisjoint(_cpu_flags())


def _cpu_flags() -> set[str]:
    cpuinfo = Path("/proc/cpuinfo")
    if not cpuinfo.is_file():  # not Linux: nothing tells, so the safe type
        return set()
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    flags = (line.partition(":")[2].split() for line in lines if line.lower().startswith(("flags", "features")))
    return set(next(flags, []))

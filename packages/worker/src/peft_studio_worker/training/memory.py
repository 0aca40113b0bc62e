"""How much memory a run needs, known before the model is loaded.

Rules of thumb that know only the number of weights are off by a factor of ten for small models, where activations and
logits dominate. This estimate knows the tokens of the largest batch. Against measured peaks of LoRA runs it was between
15 % too low and 14 % too high.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import psutil
import torch
from attrs import evolve, frozen

from peft_studio.errors import NotEnoughMemory
from peft_studio_worker.training.precision import Precision

_MIB: Final = 2**20
_GIB: Final = 2**30
#: Bytes of one base weight, by type; 4-bit weights carry their scales.
_WEIGHT_BYTES: Final = {"float32": 4.0, "bfloat16": 2.0, "nf4": 0.6, "fp4": 0.6, "int8": 1.1}
#: A process with torch, transformers and peft: measured on a CPU; on a GPU the CUDA context.
_RUNTIME: Final = {"cpu": 390 * _MIB, "cuda": 500 * _MIB}
#: What fragmentation of the heap adds: glibc's, and CUDA's caching allocator.
_FRAGMENTATION: Final = {"cpu": 1.4, "cuda": 1.15}
#: Floats of hidden size that a layer keeps for each token, beside four of intermediate size.
_HIDDEN_KEPT: Final = 8.3


@frozen
class Demand:
    """What the size of a run depends on. `tokens` and `predictions` are those of its largest batch."""

    parameters: int
    trainable: int
    layers: int
    hidden_size: int
    intermediate_size: int
    vocabulary: int
    tokens: int
    predictions: int
    weight_type: str
    compute_type: str
    device: str
    gradient_checkpointing: bool

    @classmethod
    def of(
        cls, config: Any, precision: Precision, *, parameters: int, trainable: int, tokens: int, predictions: int,
        quantisation: str | None, gradient_checkpointing: bool,
    ) -> Demand:  # fmt: skip
        """The demand of a model with the transformers `config`."""
        text = config.get_text_config()
        return cls(
            parameters=parameters,
            trainable=trainable,
            layers=text.num_hidden_layers,
            hidden_size=text.hidden_size,
            intermediate_size=getattr(text, "intermediate_size", None) or 4 * text.hidden_size,
            vocabulary=text.vocab_size,
            tokens=tokens,
            predictions=predictions,
            weight_type=quantisation or str(precision.weights).removeprefix("torch."),
            compute_type=precision.name,
            device=precision.device.type,
            gradient_checkpointing=gradient_checkpointing,
        )

    @property
    def bytes(self) -> int:
        """Peak memory of the run."""
        weights = self.parameters * _WEIGHT_BYTES[self.weight_type] + 4 * self.trainable
        optimizer = 12 * self.trainable  # gradient and two moments
        logits = 16 * self.predictions * self.vocabulary  # four copies in float32
        total = _RUNTIME[self.device] + weights + optimizer + self._activations() + logits
        return int(_FRAGMENTATION[self.device] * total)

    def _activations(self) -> float:
        size = 4.0 if self.compute_type == "float32" else 3.4  # norms stay float32 in bfloat16
        layer = self.tokens * size * (4 * self.intermediate_size + _HIDDEN_KEPT * self.hidden_size)
        if not self.gradient_checkpointing:
            return self.layers * layer
        return layer + self.layers * self.tokens * self.hidden_size * (4 if self.compute_type == "float32" else 2)


def available(device: torch.device) -> int:
    """Bytes that a new process can have: free memory of the GPU, or of the machine and of the container around us."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return min([psutil.virtual_memory().available, *_container_room(Path("/sys/fs/cgroup"))])


def require(demand: Demand, room: int) -> None:
    """Raise `NotEnoughMemory` when `demand` does not fit in `room` bytes, with what would help."""
    if demand.bytes <= room:
        return
    raise NotEnoughMemory(
        f"the job needs about {_gib(demand.bytes)} of memory, and {_gib(room)} are available",
        remedy=_remedy(demand, room),
    )


def _remedy(demand: Demand, room: int) -> str:
    halved = evolve(demand, tokens=demand.tokens // 2, predictions=demand.predictions // 2)
    offers = {
        "set gradient_checkpointing to true": evolve(demand, gradient_checkpointing=True),
        "halve batch_size (and double gradient_accumulation_steps)": halved,
        "set quantization to nf4": evolve(demand, weight_type="nf4"),
    }
    for change, smaller in offers.items():
        if smaller.bytes <= room:
            return f"{change}: then it needs about {_gib(smaller.bytes)}"
    return "use a smaller model, shorter examples or a smaller batch_size, or a machine with more memory"


def _container_room(cgroup: Path) -> list[int]:
    """What a memory limit of the container leaves; the kernel's two generations of files.

    The kernel counts cached files as used and drops them when memory is asked for, so they count as free here.
    """
    for limit, usage, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        if (cgroup / limit).is_file() and (cgroup / usage).is_file():
            highest = (cgroup / limit).read_text().strip()
            used = int((cgroup / usage).read_text()) - _cached(cgroup / Path(usage).parent / "memory.stat", cached)
            return [] if highest == "max" else [int(highest) - used]
    return []


def _cached(statistics: Path, name: str) -> int:
    if not statistics.is_file():
        return 0
    rows = (line.split() for line in statistics.read_text().splitlines())
    return next((int(row[1]) for row in rows if row[0] == name), 0)


def _gib(size: int) -> str:
    return f"{size / _GIB:.1f} GiB"

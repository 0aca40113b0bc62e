"""This machine as resources: its CPU and, where NVIDIA's management library answers, its GPUs."""

from __future__ import annotations

import platform
from pathlib import Path

import psutil

from peft_studio.models import Resource

GIB = 1024**3


def machine_resources() -> list[Resource]:
    """GPUs first, the CPU last; `available` GPUs are those with nearly all of their memory free."""
    return [*_gpus(), _cpu()]


def _cpu() -> Resource:
    memory = psutil.virtual_memory()
    return Resource(
        id="cpu",
        name=_cpu_name(),
        cpu_cores=psutil.cpu_count(logical=True),
        ram_gb=round(memory.total / GIB, 1),
        available=True,
        region="here",
    )


def _gpus() -> list[Resource]:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver, so no NVIDIA GPU
        return []
    try:
        return [_gpu(index) for index in range(pynvml.nvmlDeviceGetCount())]
    finally:
        pynvml.nvmlShutdown()


def _gpu(index: int) -> Resource:
    import pynvml

    device = pynvml.nvmlDeviceGetHandleByIndex(index)
    memory = pynvml.nvmlDeviceGetMemoryInfo(device)
    name = str(pynvml.nvmlDeviceGetName(device))
    return Resource(
        id=f"cuda:{index}",
        name=name,
        gpu_type=name,
        gpu_count=1,
        vram_gb=round(memory.total / GIB, 1),
        ram_gb=round(psutil.virtual_memory().total / GIB, 1),
        available=memory.free > 0.9 * memory.total,
        region="here",
    )


def _cpu_name() -> str:
    """The processor's own name; Linux keeps it in /proc."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

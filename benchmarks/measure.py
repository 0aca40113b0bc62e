"""Measure whole processes: wall time, CPU time and peak memory, with all that they leave behind.

A job that detaches from its client is adopted by this process (Linux: child subreaper), waited for and counted too.
Contestants take turns, so that a change in the machine's load meets all of them.
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final, TypeVar

Result = TypeVar("Result")

_PR_SET_CHILD_SUBREAPER: Final = 36
#: Kept from the caller's environment; everything else could change what is measured.
_KEPT: Final = ("PATH", "TMPDIR", "SSL_CERT_FILE", "SYSTEMROOT", "LD_LIBRARY_PATH")
_MAXRSS_UNIT: Final = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Process:
    """What one command took. Times in seconds, memory in bytes."""

    wall: float
    cpu: float
    peak_memory: int
    output: str


class Load:
    """How much of the machine others used meanwhile, in cores; None where the system does not tell."""

    def __init__(self) -> None:
        self._started, self._busy, self._own = time.monotonic(), _busy_seconds(), _own_seconds()

    def foreign_cores(self) -> float | None:
        """Cores used by processes that are not ours, since this object was made; ours must have ended."""
        busy = _busy_seconds()
        if busy is None or self._busy is None:
            return None
        others = (busy - self._busy) - (_own_seconds() - self._own)
        return max(0.0, others / (time.monotonic() - self._started))


def adopt_orphans() -> None:
    """Become the parent of processes that a measured command leaves behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def run(
    command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None, *, is_alone: bool = True
) -> Process:
    """Run a command to its end. Raises `SystemExit` with its last words when it fails.

    Unless `is_alone`, other children of ours run beside it, and nothing that it leaves behind is waited for.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, env=dict(environment), cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        usages = [usage, *(_wait_for_orphans() if is_alone else ())]
        output.seek(0)
        errors.seek(0)
        if process.returncode != 0:
            said = (errors.read() or output.read()).decode("utf-8", "replace")
            raise SystemExit(f"bench: {' '.join(command)} ended with {process.returncode}:\n{said[-4000:]}")
        return Process(
            wall=wall,
            cpu=sum(each.ru_utime + each.ru_stime for each in usages),
            peak_memory=max(each.ru_maxrss for each in usages) * _MAXRSS_UNIT,
            output=output.read().decode("utf-8", "replace"),
        )


def take_turns(
    contestants: Mapping[str, Callable[[], Result]], rounds: int, *, warm_up: int = 1
) -> dict[str, list[Result]]:
    """Each contestant once per round, A B C, A B C, …; the warm-up rounds are not kept."""
    results: dict[str, list[Result]] = {name: [] for name in contestants}
    for number in range(-warm_up, rounds):
        for name, contestant in contestants.items():
            result = contestant()
            if number >= 0:
                results[name].append(result)
    return results


def clean_environment(home: Path, **changes: str) -> dict[str, str]:
    """The environment of a measured process: an empty home, no Python settings of ours, and so with bytecode."""
    home.mkdir(parents=True, exist_ok=True)
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, "LANG": "C.UTF-8", "HOME": str(home), "PEFT_STUDIO_HOME": str(home / "peft-studio"), **changes}


def spread(values: Sequence[float], digits: int = 3) -> str:
    """`median (min–max)`."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _wait_for_orphans() -> list[resource.struct_rusage]:
    usages = []
    while True:
        try:
            usages.append(os.wait4(-1, 0)[2])
        except ChildProcessError:
            return usages


def _own_seconds() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, kinds))


def _busy_seconds() -> float | None:
    """CPU seconds that all processors have spent on anything but idling and waiting for disks."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]
    except FileNotFoundError:
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields)
    ticks = user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK")

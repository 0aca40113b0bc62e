"""What was measured, as JSON for programs and as a Markdown page for people, with the machine it was measured on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from environments import Environment

#: Named in the page; results.json has every package.
_NAMED: Final = (
    "peft-studio", "peft-studio-worker", "peft-studio-local", "peft-studio-huggingface", "torch", "transformers",
    "peft", "accelerate", "trl", "torchx", "huggingface-hub", "llm", "persist-queue", "huey", "pluggy", "click",
    "attrs",
)  # fmt: skip

#: Above this many cores of foreign work a table says that it is not to be quoted.
QUIET_CORES: Final = 0.3

_LIST_PACKAGES: Final = """
import json, importlib.metadata as m
print(json.dumps({d.metadata["Name"].lower().replace("_", "-"): d.version for d in m.distributions()}))
"""


@dataclass
class Section:
    """The results of one benchmark."""

    title: str
    #: How it was measured and how to read it.
    method: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    #: Sentences with the goals and whether they are met.
    verdicts: Sequence[str] = ()
    #: Every single measurement.
    samples: Mapping[str, Any] = field(default_factory=dict)
    #: Cores that other processes used meanwhile.
    foreign_cores: float | None = None
    packages: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    measured: str = field(default_factory=lambda: f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    is_quick: bool = False
    #: How long the benchmark took, seconds.
    duration: float = 0.0


def verdict(goal: str, value: float, *, at_most: float | None = None, at_least: float | None = None) -> str:
    """One goal beside what was measured."""
    is_met = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
    return f"{'met' if is_met else '**missed**'}: {goal}; measured {value:.4g}"


def packages(environment: Environment) -> dict[str, str]:
    """Every package of an environment with its version."""
    command = [environment.python, "-I", "-c", _LIST_PACKAGES]
    listing: dict[str, str] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return dict(sorted(listing.items()))


def write(sections: Mapping[str, Section], file: Path) -> Path:
    """Write the JSON file and the page beside it; sections measured earlier on this machine stay. Returns the page."""
    document = {"machine": machine(), "benchmarks": {}}
    if file.exists():
        earlier = json.loads(file.read_text(encoding="utf-8"))
        if earlier["machine"] == document["machine"]:
            document["benchmarks"] = earlier["benchmarks"]
    document["benchmarks"].update({name: asdict(section) for name, section in sections.items()})
    file.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page = file.with_name("RESULTS.md") if file.name == "results.json" else file.with_suffix(".md")
    page.write_text(_page(document), encoding="utf-8")
    return page


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {sys.version.split()[0]}",
    }


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _page(document: Mapping[str, Any]) -> str:
    described = document["machine"]
    head = (
        "# Measured\n\nWritten by `python3 dev.py bench`; README.md in this folder says how to read it. Figures are "
        "medians with (minimum–maximum); ratios are ours divided by the peer's unless said otherwise.\n\n"
        f"Machine: {described['processor']}, {described['cores']} cores, {described['memory_gib']} GiB, "
        f"{described['system']}, {described['python']}."
    )
    return "\n\n".join([head, *(_section(section) for section in document["benchmarks"].values())]) + "\n"


def _section(section: Mapping[str, Any]) -> str:
    named = {name: text for each in section["packages"].values() for name, text in each.items() if name in _NAMED}
    versions = ", ".join(f"{name} {named[name]}" for name in _NAMED if name in named)
    foreign = section["foreign_cores"]
    noise = "unknown" if foreign is None else f"{foreign:.2f} cores"
    if foreign is not None and foreign > QUIET_CORES:
        noise = f"**{noise}, a busy machine: not to be quoted**"
    quick = ", a quick run" if section["is_quick"] else ""
    facts = f"Measured {section['measured']}{quick}; used by other processes meanwhile: {noise}. {versions}."
    verdicts = "\n".join(f"* {line}" for line in section["verdicts"])
    parts = [f"## {section['title']}", section["method"], facts, table(section["headings"], section["rows"]), verdicts]
    return "\n\n".join(part for part in parts if part)


def _processor() -> str:
    """The model's name, and the vector instructions that decide whether bfloat16 is fast."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except FileNotFoundError:
        return platform.processor() or platform.machine()
    facts = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    facts = {name.strip(): value.strip() for name, value in facts.items()}
    flags = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in facts.get("flags", "").split()]
    return f"{facts.get('model name', platform.machine())} ({', '.join(flags) or 'no AVX2'})"

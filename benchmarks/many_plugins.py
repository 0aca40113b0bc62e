"""Growth: what one more installed plugin costs a command that only lists them, beside tools that load them all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import linear_regression, median
from typing import TYPE_CHECKING

import measure as m
import sample_connectors
from environments import CACHE, Environment
from report import Section, packages, verdict

if TYPE_CHECKING:
    from run import Bench

METHOD = (
    "Whole processes, taking turns, with N generated plugins in a site directory: each a package and a .dist-info of "
    "its own, byte-compiled. Ours lists them from metadata and connector.json. The same plugins are loaded with "
    "`pluggy.load_setuptools_entrypoints` by a script that does nothing else; their modules are a dozen lines, so this "
    "is the least that loading can cost. `llm plugins` loads plugins of its own kind, each a module with one empty "
    "hook. *Growth* is the slope of a straight line through the medians. Beforehand each contestant shows how many of "
    "the packages it imports: ours none, the others all."
)
COUNTS = (0, 14, 50, 100, 200)
OURS, PLUGGY, LLM = "peft-studio connectors list", "pluggy loads them", "llm plugins"
GOAL = 1.0

_LOAD = """import pluggy
manager = pluggy.PluginManager("peft_studio")
print(manager.load_setuptools_entrypoints("peft_studio.connectors"))
"""
_LLM_PLUGIN = """import llm


@llm.hookimpl
def register_models(register):
    pass
"""
#: Runs a program and tells how many of the generated packages it has imported.
_COUNT = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit:
    pass
print("imported", sum(name.startswith("bench_") and "." not in name for name in sys.modules))
"""


def measure(bench: Bench) -> Section:
    """Time each contestant with each number of plugins."""
    script = bench.scratch / "load.py"
    script.write_text(_LOAD, encoding="utf-8")
    contestants: dict[str, tuple[Environment, list[str]]] = {
        OURS: (bench.core, [bench.core.program("peft-studio"), "connectors", "list"]),
        PLUGGY: (bench.core, [str(script)]),
        LLM: (bench.llm, [bench.llm.program("llm"), "plugins"]),
    }
    turns: dict[str, Callable[[], m.Process]] = {}
    for name, (environment, words) in contestants.items():
        for count in COUNTS:
            site = _site(environment, _llm_files if name == LLM else sample_connectors.files, count)
            variables = m.clean_environment(bench.home(f"many_plugins-{count}"), PYTHONPATH=str(site))
            _require(environment, words, count, 0 if name == OURS else count, variables)
            turns[f"{name} {count}"] = _turn([environment.python, *words], variables)
    load = m.Load()
    taken = m.take_turns(turns, rounds=5 if bench.is_quick else 15, warm_up=1)
    wall = {name: [process.wall for process in processes] for name, processes in taken.items()}
    cpu = {name: [process.cpu for process in processes] for name, processes in taken.items()}
    growth = {name: _growth(cpu, name) for name in contestants}
    rows = [(str(count), *(m.spread(wall[f"{name} {count}"]) for name in contestants)) for count in COUNTS]
    return Section(
        title="Many plugins",
        method=METHOD,
        headings=("plugins", *(f"`{name}`, s" if name != PLUGGY else f"{name}, s" for name in contestants)),
        rows=[
            *rows,
            ("growth, ms per plugin", *(f"{_growth(wall, name):.3f}" for name in contestants)),
            ("growth in CPU, ms per plugin", *(f"{growth[name]:.3f}" for name in contestants)),
        ],
        verdicts=[
            verdict(f"growth in CPU of `{OURS}` at most {GOAL} of {peer}", growth[OURS] / growth[peer], at_most=GOAL)
            for peer in (PLUGGY, LLM)
        ],
        samples={"wall": wall, "cpu": cpu},
        foreign_cores=load.foreign_cores(),
        packages={"core": packages(bench.core), "llm": packages(bench.llm)},
    )


def _turn(command: list[str], variables: Mapping[str, str]) -> Callable[[], m.Process]:
    return lambda: m.run(command, dict(variables))


def _growth(samples: Mapping[str, list[float]], name: str) -> float:
    """Milliseconds per plugin."""
    return 1000 * linear_regression(COUNTS, [median(samples[f"{name} {count}"]) for count in COUNTS]).slope


def _site(environment: Environment, files: Callable[[str, str], Mapping[str, str]], count: int) -> Path:
    """A site directory with that many plugins, compiled by the interpreter that will read it."""
    site = CACHE / "many" / f"{files.__name__.strip('_')}-{count}"
    shutil.rmtree(site, ignore_errors=True)
    site.mkdir(parents=True)
    for number in range(1, count + 1):
        for place, text in files(f"sample{number:03}", f"bench_connector_{number:03}").items():
            file = site / place
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
    m.run([environment.python, "-m", "compileall", "-qq", str(site)], {})
    return site


def _llm_files(name: str, package: str) -> dict[str, str]:
    """A plugin of llm's kind."""
    info = f"{package}-{sample_connectors.VERSION}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {package}\nVersion: {sample_connectors.VERSION}\nRequires-Dist: llm\n"
    return {
        f"{package}/__init__.py": "",
        f"{package}/plugin.py": _LLM_PLUGIN,
        f"{info}/METADATA": metadata,
        f"{info}/entry_points.txt": f"[llm]\n{name} = {package}.plugin\n",
    }


def _require(environment: Environment, words: list[str], found: int, imported: int, variables: dict[str, str]) -> None:
    """A contestant that finds fewer, or imports others than it should, would be quick for the wrong reason."""
    output = m.run([environment.python, "-c", _COUNT, *words], variables).output
    if f"imported {imported}\n" not in output:
        raise SystemExit(f"bench: {words[0]} should import {imported} of {found} plugins:\n{output[-2000:]}")
    if words[-1] == "list" and output.count("described") != found:
        raise SystemExit(f"bench: expected {found} described connectors in the list:\n{output[-2000:]}")

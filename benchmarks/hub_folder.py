"""A folder of weights to the Hub and back, beside `huggingface_hub`, against the same sandbox of the Hub."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import measure as m
from report import Section, packages, verdict
from transfer import _cpu_of

if TYPE_CHECKING:
    from run import Bench

METHOD = (
    "Four files of random bytes and two small ones go into a new private repository of the Hugging Face connector's "
    "sandbox, a process of its own, and come home again; taking turns, the server emptied before each. *Ours* is "
    "`upload_artifact` and `download_model`, *huggingface_hub* is `create_repo` with `upload_folder`, and "
    "`snapshot_download` into a folder, with its default of eight files at once; both without Xet, which the sandbox "
    "does not have. Each is a process that has imported and connected before the clock starts; our upload starts "
    "another, with `huggingface_hub` in it, and that start is in its time. We verify what comes home by its sha256, "
    "`huggingface_hub` by its size. *Memory* is the peak of the client's memory above what it had when the clock "
    "started; that of the process which uploads, above what its imports take. The server is written in Python, and "
    "hashes what arrives: where its CPU is near the seconds, it holds both up, and the ratio says little."
)
HERE = Path(__file__).resolve().parent
FILES, SMALL = 4, {"adapter_config.json": {"peft_type": "LORA", "r": 8}, "notes.json": {"steps": 100}}
OURS, THEIRS = "ours", "huggingface_hub"
ACTIONS = ("upload", "download")
GOAL_MEMORY = 64.0
_BLOCK = 2**24

Turn = dict[str, dict[str, float]]


def measure(bench: Bench) -> Section:
    """There and back, again and again."""
    size, rounds = (400_000_000, 2) if bench.is_quick else (2_000_000_000, 3)
    environment, folder = m.clean_environment(bench.home("hub")), bench.scratch / "hub"
    source = _folder(folder / "source", size)
    pythons = {OURS: bench.hub_connector.python, THEIRS: bench.hub.python}
    load = m.Load()
    with _server(bench.hub_connector.python, environment, folder) as server:

        def turn(name: str) -> Turn:
            return _turn([pythons[name], str(HERE / "hub_client.py"), name], environment, server, source, size)

        taken = m.take_turns({name: lambda name=name: turn(name) for name in pythons}, rounds)
    shutil.rmtree(folder)
    return Section(
        title=f"Folder of {size / 1e9:g} GB to the Hub and back",
        method=METHOD,
        headings=("", "seconds", "MB/s", "speed / huggingface_hub", "its CPU, s", "server's CPU, s", "memory, MiB",
                  "memory of the process that uploads, MiB"),
        rows=[_row(action, name, taken, size) for action in ACTIONS for name in pythons],
        verdicts=[
            verdict(f"memory growth of {what} at most 64 MiB", max(_values(taken[OURS], *keys)), at_most=GOAL_MEMORY)
            for what, keys in {
                "our process in an upload": ("upload", "growth"),
                "the process that uploads": ("upload", "uploader_growth"),
                "our process in a download": ("download", "growth"),
            }.items()
        ],
        samples=taken,
        foreign_cores=load.foreign_cores(),
        packages={"ours": packages(bench.hub_connector), "hub": packages(bench.hub)},
    )  # fmt: skip


def _folder(place: Path, size: int) -> Path:
    place.mkdir(parents=True)
    for number in range(FILES):
        with (place / f"model-{number + 1:05}-of-{FILES:05}.safetensors").open("wb") as file:
            for start in range(0, size // FILES, _BLOCK):
                file.write(os.urandom(min(_BLOCK, size // FILES - start)))
    for name, document in SMALL.items():
        (place / name).write_text(json.dumps(document), encoding="utf-8")
    return place


@contextmanager
def _server(python: str, environment: Mapping[str, str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """The sandbox; it ends when its stdin does."""
    pipe, here = subprocess.PIPE, {**environment, "TMPDIR": str(folder)}
    process = subprocess.Popen([python, str(HERE / "hub_server.py")], env=here, stdin=pipe, stdout=pipe, text=True)
    try:
        yield process
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)


def _turn(
    command: Sequence[str], environment: Mapping[str, str], server: subprocess.Popen[str], source: Path, size: int
) -> Turn:
    """Upload, and download what was uploaded."""
    assert server.stdin is not None
    assert server.stdout is not None
    print("empty", file=server.stdin, flush=True)
    told = json.loads(server.stdout.readline())
    here = {**environment, **told["environment"], "CREDENTIALS": json.dumps(told["credentials"])}
    home = source.with_name("home")
    result = {action: _step([*command, action], here, place, server.pid, size) for action, place in
              (("upload", source), ("download", home))}  # fmt: skip
    arrived = sum(path.stat().st_size for path in home.glob("*.safetensors"))
    if arrived != size // FILES * FILES:
        raise SystemExit(f"bench: {arrived} of {size} bytes came home")
    shutil.rmtree(home)
    return result


def _step(
    command: Sequence[str], environment: Mapping[str, str], place: Path, server: int, size: int
) -> dict[str, float]:
    subprocess.run([sys.executable, str(HERE / "touch_memory.py"), str(size * 3 // 2)], check=True)
    before = _cpu_of(server)
    ran = m.run([*command, str(place)], environment, is_alone=False)
    told: dict[str, Any] = json.loads(ran.output)
    return {**told, "cpu": ran.cpu, "server_cpu": _cpu_of(server) - before}


def _row(action: str, name: str, taken: Mapping[str, Sequence[Turn]], size: int) -> tuple[str, ...]:
    seconds, theirs = _values(taken[name], action, "seconds"), _values(taken[THEIRS], action, "seconds")
    cpu = (m.spread(_values(taken[name], action, key), 2) for key in ("cpu", "server_cpu"))
    growth = (m.spread(_values(taken[name], action, key), 1) if key in taken[name][0][action] else ""
              for key in ("growth", "uploader_growth"))  # fmt: skip
    ratio = f"{median(theirs) / median(seconds):.2f}"
    speed = f"{size / 1e6 / median(seconds):.0f}"
    return (f"{action}, {name}", m.spread(seconds, 2), speed, ratio, *cpu, *growth)


def _values(taken: Sequence[Turn], action: str, key: str) -> list[float]:
    return [each[action][key] for each in taken]

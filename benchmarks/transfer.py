"""An artifact from a real worker to its client, beside curl from the same worker to the same disk."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import measure as m
from report import Section, packages, verdict

if TYPE_CHECKING:
    from run import Bench

METHOD = (
    "`peft-studio-worker serve` on loopback hands out the artifact of a job that is over; taking turns. *Ours* is the "
    "call that brings it home: manifest, every file, each byte hashed as it arrives, and the rename. *curl* writes the "
    "large file to the same disk and verifies nothing; with `sha256sum` it does what ours does. curl is a whole "
    "process, ours without the start of Python. CPU is the client's, and the worker's beside it. *Memory* is the peak "
    "of the client's memory above what it had when the download began. Before each turn as much memory as a download "
    "needs is used and given back, since virtual machines whose hosts take free memory away would make one turn slow "
    "and spare the next."
)
HERE = Path(__file__).resolve().parent
TOKEN = "token-of-this-job-alone-0123456789"
LARGE = "adapter_model.safetensors"
GOAL_SPEED, GOAL_MEMORY = 0.9, 32.0


def measure(bench: Bench) -> Section:
    """Bring it home again and again."""
    if not shutil.which("curl"):
        raise SystemExit("bench: transfer needs curl")
    size, rounds = (500_000_000, 3) if bench.is_quick else (2_000_000_000, 5)
    environment, folder = m.clean_environment(bench.home("transfer")), bench.scratch / "transfer"
    folder.mkdir()
    m.run([bench.rented.python, str(HERE / "transfer_artifact.py"), str(folder / "root"), str(size)], environment)
    load = m.Load()
    with _worker(bench.rented.python, folder, environment) as (process, address):
        curl = ["curl", "-sSf", "-H", f"Authorization: Bearer {TOKEN}", "-o", "file", f"{address}/v1/artifact/{LARGE}"]
        commands = {
            "ours": [bench.rented.python, str(HERE / "transfer_client.py"), address, TOKEN, "adapter"],
            "curl": curl,
            "curl, then sha256sum": ["sh", "-c", '"$@" && sha256sum file', "sh", *curl],
        }

        def turn(command: Sequence[str]) -> dict[str, float]:
            return _turn(command, environment, folder / "here", process.pid, size)

        turns = {name: lambda command=command: turn(command) for name, command in commands.items()}
        taken = m.take_turns(turns, rounds)
    shutil.rmtree(folder)
    seconds = {name: median(_values(each, "seconds")) for name, each in taken.items()}
    growth = max(_values(taken["ours"], "growth"))
    return Section(
        title=f"Artifact of {size / 1e9:g} GB through the worker",
        method=METHOD,
        headings=("client", "seconds", "MB/s", "speed / curl", "its CPU, s", "worker's CPU, s", "memory, MiB"),
        rows=[_row(name, each, size, seconds["curl"]) for name, each in taken.items()],
        verdicts=[
            verdict("speed at least 0.9 of curl", seconds["curl"] / seconds["ours"], at_least=GOAL_SPEED),
            verdict("memory growth at most 32 MiB", growth, at_most=GOAL_MEMORY),
        ],
        samples=taken,
        foreign_cores=load.foreign_cores(),
        packages={"rented": packages(bench.rented)},
    )


@contextmanager
def _worker(python: str, folder: Path, environment: Mapping[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A worker that serves, and its address."""
    variables = {"JOB": "ps-job", "TOKEN": TOKEN, "ROOT": str(folder / "root"), "HOST": "127.0.0.1", "PORT": "0"}
    named = {f"PEFT_STUDIO_WORKER_{name}": value for name, value in variables.items()}
    said = folder / "said.txt"
    with said.open("wb") as errors:
        command = [python, "-m", "peft_studio_worker", "serve"]
        process = subprocess.Popen(command, env={**environment, **named}, stdin=subprocess.DEVNULL, stderr=errors)
    try:
        while not (found := re.search(r"at (http://[\d.:]+)", said.read_text(encoding="utf-8"))):
            if process.poll() is not None:
                raise SystemExit(f"bench: the worker ended: {said.read_text(encoding='utf-8')}")
            time.sleep(0.05)
        yield process, found[1]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _turn(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, worker: int, size: int
) -> dict[str, float]:
    folder.mkdir()
    subprocess.run([sys.executable, str(HERE / "touch_memory.py"), str(size * 3 // 2)], check=True)
    before = _cpu_of(worker)
    ran = m.run(command, environment, folder, is_alone=False)
    after = _cpu_of(worker)
    arrived = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    if arrived < size:
        raise SystemExit(f"bench: {command[0]} brought {arrived} of {size} bytes")
    shutil.rmtree(folder)
    told: dict[str, Any] = json.loads(ran.output) if ran.output.startswith("{") else {"seconds": ran.wall}
    return {**told, "wall": ran.wall, "cpu": ran.cpu, "worker_cpu": after - before}


def _row(name: str, taken: Sequence[Mapping[str, float]], size: int, curl: float) -> tuple[str, ...]:
    seconds = _values(taken, "seconds")
    growth = m.spread(_values(taken, "growth"), 1) if "growth" in taken[0] else ""
    speed = f"{size / 1e6 / median(seconds):.0f}"
    cpu = (m.spread(_values(taken, key), 2) for key in ("cpu", "worker_cpu"))
    return (name, m.spread(seconds, 2), speed, f"{curl / median(seconds):.2f}", *cpu, growth)


def _values(taken: Sequence[Mapping[str, float]], key: str) -> list[float]:
    return [each[key] for each in taken]


def _cpu_of(pid: int) -> float:
    """CPU seconds of a process that runs; 0 where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

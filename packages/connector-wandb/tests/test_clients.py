"""W&B's own SDK, unchanged and in an environment of its own: it takes the sandbox for W&B.

It comes from the public registry; where that cannot be reached, the tests are skipped and say so.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

SDK = "wandb==0.31.0"
PROGRAMS = Path(__file__).with_name("clients")
#: How pip and uv say that there is no network, or one whose certificates they do not trust.
UNREACHABLE = re.compile(
    r"Temporary failure in name resolution|NameResolutionError|Name or service not known|NewConnectionError"
    r"|ConnectTimeout|Read timed out|dns error|error sending request|Connection refused|CERTIFICATE_VERIFY_FAILED"
)


def obtain(*command: str | Path) -> None:
    """Run an installer; skip where it finds no network, and fail for any other reason."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=600, check=False)
    said = done.stdout + done.stderr
    if done.returncode and UNREACHABLE.search(said):
        pytest.skip(f"the registry of {Path(command[0]).name} cannot be reached: W&B's own SDK was not asked")
    assert done.returncode == 0, said


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the SDK's `python` and `wandb`."""
    folder = tmp_path_factory.mktemp("sdk")
    uv = shutil.which("uv")
    venv.create(folder, with_pip=uv is None)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    if uv is None:
        obtain(programs / "python", "-m", "pip", "install", SDK)
    else:
        obtain("uv", "pip", "install", "--quiet", "--python", programs / "python", SDK)
    return programs


@pytest.fixture
def run(sandbox, programs, tmp_path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a program of that environment, told by the documented variables where W&B is."""

    def start(program: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        own = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "WANDB_ERROR_REPORTING": "false"}
        done = subprocess.run(
            [programs / program, *arguments], env={**own, **sandbox.environment(), **variables}, cwd=tmp_path,
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    return start


@pytest.fixture
def seen(run, tmp_path) -> Callable[..., Any]:
    """Runs one of our programs for the SDK; answers what it wrote to seen.json."""

    def read(program: str, *arguments: str, **variables: str) -> Any:
        run("python", str(PROGRAMS / program), *arguments, **variables)
        return json.loads((tmp_path / "seen.json").read_text(encoding="utf-8"))

    return read


def test_the_public_api_reads_back_what_a_run_wrote(sandbox, seen):
    """Every row once and in order, exactly; summary, config, console, files, state and what people see."""
    back = seen("online_run.py")
    losses = [(step, 1 / (step + 1), step // 10) for step in range(120)]
    assert losses == [(row["_step"], row["train/loss"], row["epoch"]) for row in back["scanned"]]
    assert losses == [(row["_step"], row["train/loss"], row["epoch"]) for row in back["columns"]]
    assert (10, "finished", ["lora", "qwen"]) == (back["sampled"], back["state"], back["tags"])
    assert {"train/loss", "epoch", "_step"} <= set(back["keys"])
    assert {"best": 0.01, "train/loss": 1 / 120} == back["summary"]
    assert {"learning_rate": 2e-4, "lora": {"r": 16}} == back["config"]
    assert ["qwen r16", "exp1", "train", "first", "jo"] == back["about"]
    assert "hello console" in back["console"]
    assert {"config.yaml", "output.log", "requirements.txt", "wandb-summary.json"} <= set(back["files"])
    assert "learning_rate:" in back["config file"]
    truth = sandbox.run("acme/lora-ft/ft-1")
    assert ([], 0) == (truth.history.replaced, truth.exitcode)
    assert set(back["files"]) == truth.uploaded
    assert not [each for each in sandbox.other_requests if "authorization" in each.headers]


def test_a_run_from_offline_is_synced_once(sandbox, run):
    """`wandb offline` needs no server; `wandb sync` brings all of it, and once more changes nothing."""
    run("python", str(PROGRAMS / "offline_run.py"), WANDB_MODE="offline")
    assert [] == sandbox.requests
    run("wandb", "sync", "--yes")
    truth = sandbox.run("acme/lora-ft/off-1")
    assert [(step, 1 / (step + 1)) for step in range(50)] == [(row["_step"], row["loss"]) for row in truth.history.rows]
    assert ({"rank": 16}, "finished") == (sandbox.runs["off-1"].config, sandbox.runs["off-1"].status)
    before = len(sandbox.requests)
    run("wandb", "sync", "--yes")
    assert (before, []) == (len(sandbox.requests), truth.history.replaced)

"""The README tells the truth: its config, its commands and its program are run, in its order."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def desk(studio, tiny_model):
    """A folder as the README's reader has it: the job, its data; only the model is a small one."""
    (config,) = blocks("toml")
    config = config.replace("HuggingFaceTB/SmolLM2-135M-Instruct", str(tiny_model))
    (studio.home / "job.toml").write_text(config)
    shutil.copy(ROOT / "examples" / "quickstart" / "lighthouse.jsonl", studio.home)
    return studio.home


@pytest.mark.slow
def test_commands(studio, desk):
    """Every command of the README, typed one after the other."""
    job = None
    for line in "".join(blocks("console")).splitlines():
        program, *arguments = shlex.split(line.removeprefix("$ "))
        assert "peft-studio" == program
        if arguments[:2] == ["jobs", "pause"]:  # the reader's job is a longer one than ours, which is over by now
            job = studio.submit(desk / "job.toml", "--set", "num_epochs=400")
            studio.until(job, "step", step=2)
        if arguments[:2] == ["jobs", "resume"]:
            arguments.append("--detach")
        if arguments[:2] == ["jobs", "pull"]:
            studio("jobs", "cancel", job)
            job = studio.json("jobs", "list")[-1]["id"]
            shutil.rmtree(desk / "my-adapter")
        done = studio(*(job if word == "ID" else word for word in arguments))
        job = done.stdout.strip() if "--detach" in arguments and arguments[0] == "run" else job

    assert (desk / "my-adapter" / "manifest.json").is_file()
    assert (desk / "loss.png").is_file()


@pytest.mark.slow
def test_program(studio, desk):
    """The Python program trains and brings the adapter home, without a warning."""
    (program,) = blocks("python")
    environment = {**os.environ, "PEFT_STUDIO_HOME": str(studio.home)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True, text=True, check=False, cwd=desk, env=environment,
    )  # fmt: skip

    assert (0, "") == (done.returncode, done.stderr)
    assert (desk / "my-adapter" / "adapter_model.safetensors").is_file()


def test_links():
    """What the README points to in the repository is there."""
    targets = re.findall(r"\]\(([^)#:]+)\)", README)

    assert targets
    assert [] == [target for target in targets if not (ROOT / target).exists()]

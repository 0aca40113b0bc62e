"""The README and the site's first page tell the truth: config, commands and program are run, in their order."""

from __future__ import annotations

import ast
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from peft_studio_huggingface.sandbox import HuggingFaceSandbox
from peft_studio_wandb.sandbox import WandbSandbox

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST_PAGE = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")

each_page = pytest.mark.parametrize("page", [README, FIRST_PAGE], ids=["README", "docs"])


def blocks(page: str, language: str) -> list[str]:
    """Code blocks of one language."""
    return re.findall(rf"```{language}(?: title=.+?)?\n(.*?)```", page, re.DOTALL)


@pytest.fixture
def desk(studio, tiny_model, page):
    """A folder as the page's reader has it: the job, its data; only the model is a small one."""
    (config,) = blocks(page, "toml")
    config = config.replace("HuggingFaceTB/SmolLM2-135M-Instruct", str(tiny_model))
    (studio.home / "job.toml").write_text(config)
    (data,) = blocks(page, "json") or [(ROOT / "examples" / "quickstart" / "lighthouse.jsonl").read_text()]
    (studio.home / "lighthouse.jsonl").write_text(data)
    return studio.home


@pytest.fixture
def accounts(studio):
    """The reader has accounts; here they are on this machine."""
    with HuggingFaceSandbox() as hub, WandbSandbox() as tracker:
        studio.environment |= {**hub.environment(), **tracker.environment()}
        yield


@pytest.mark.slow
@each_page
def test_commands(studio, desk, accounts, page):
    """Every command of the page, typed one after the other."""
    job = None
    for line in "".join(blocks(page, "console")).splitlines():
        program, *arguments = shlex.split(line.removeprefix("$ "))
        if program == "pip":  # it is installed here
            continue
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
    assert ("--plot loss.png" in page) == (desk / "loss.png").is_file()


def test_programs_are_alike():
    """Both pages have the same Python program, whatever its blank lines: to run one is to run both."""
    (one,), (other,) = blocks(README, "python"), blocks(FIRST_PAGE, "python")

    assert ast.dump(ast.parse(one)) == ast.dump(ast.parse(other))


@pytest.mark.slow
@pytest.mark.parametrize("page", [README], ids=["README"])
def test_program(studio, desk, page):
    """The Python program trains and brings the adapter home, without a warning."""
    (program,) = blocks(page, "python")
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

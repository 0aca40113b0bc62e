"""The worker as a program beside this one: torch stays out of the client, and its memory goes when it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

from peft_studio.errors import ConnectionFailed, InvalidConfig, PeftStudioError, PlatformError
from peft_studio_local.launch import TRAINER_PACKAGES, interpreter

#: Short spins: threads that wait for each other at full speed cost a busy machine a factor of three.
_SPIN = {"GOMP_SPINCOUNT": "1000"}
#: What the worker says itself is shown; its libraries' progress bars and advice to programmers are not.
_QUIET = {"TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONWARNINGS": "ignore"}


def ask(
    base_model: str,
    questions: Sequence[str],
    tell: Callable[[str], None],
    *,
    adapter: Path | None = None,
    max_new_tokens: int,
) -> list[str]:
    """The model's answers, in the order of the questions; `tell` hears what the worker has to say meanwhile.

    Raises `InvalidConfig`, `ConnectionFailed` or `PlatformError` in the worker's words when it cannot answer.
    """
    options = ["--base-model", base_model, "--max-new-tokens", str(max_new_tokens)]
    if adapter is not None:
        options += ["--adapter", str(adapter)]
    with tempfile.TemporaryDirectory(prefix="peft-studio-") as folder:
        asked, answers = Path(folder, "questions.jsonl"), Path(folder, "answers.jsonl")
        lines = [json.dumps({"question": question}, ensure_ascii=False) for question in questions]
        asked.write_text("\n".join(lines) + "\n", encoding="utf-8")
        _run(_command("answer", *options, "--questions", str(asked)), answers, tell)
        return [json.loads(line)["answer"] for line in answers.read_text(encoding="utf-8").splitlines()]


def talk(*options: str) -> int:
    """Hand the terminal to the worker's chat until it ends; returns its exit code."""
    check_packages()
    process = subprocess.Popen(_command("chat", *options), env=_SPIN | _QUIET | os.environ)
    # Ctrl-C reaches both of us; what it means is the chat's business.
    before = signal.signal(signal.SIGINT, _ignore)
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGINT, before)


def check_packages() -> None:
    """Raise `PlatformError` with the command to type when the worker's packages are not installed."""
    missing = [name for name in TRAINER_PACKAGES if find_spec(name) is None]
    if missing:
        raise PlatformError(
            f"the worker's packages are not installed ({', '.join(missing)})",
            remedy="pip install 'peft-studio-local[train]'",
        )


def _run(command: list[str], output: Path, tell: Callable[[str], None]) -> None:
    said = "it said nothing"
    with (
        output.open("wb") as stdout,
        subprocess.Popen(
            command, env=_SPIN | _QUIET | os.environ, stdout=stdout, stderr=subprocess.PIPE, encoding="utf-8"
        ) as process,
    ):
        assert process.stderr is not None
        for line in process.stderr:
            if line.strip():
                said = line.strip()
                tell(said)
    if process.returncode != 0:
        raise _error(process.returncode, said)


def _error(exit_code: int, said: str) -> PeftStudioError:
    """The worker's refusals are sentences, and its exit codes are ours; anything else is a crash."""
    for kind in (InvalidConfig, ConnectionFailed):
        if exit_code == kind.exit_code:
            return kind(said)
    return PlatformError("the model could not be asked", why=said)


def _command(*arguments: str) -> list[str]:
    return [interpreter(), "-m", "peft_studio_worker", *arguments]


def _ignore(number: int, frame: FrameType | None) -> None:
    return

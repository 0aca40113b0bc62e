"""Tiny models, datasets and job folders, made on the spot: no downloads, no files in the repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from peft_studio_testkit.tiny_model import tiny_tokenizer, write_facts, write_tiny_model


def pytest_configure(config: pytest.Config) -> None:
    """Libraries that warn themselves or each other of their own old names are not what these tests are about."""
    for module in ("transformers.modeling_utils",):
        config.addinivalue_line("filterwarnings", f"ignore::FutureWarning:{module}")


@pytest.fixture(scope="session", autouse=True)
def own_surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of the user's cache is read or written, nothing is looked up online, and one thread does the work.

    The tiny models' layers are so small that a second thread only waits, and on a busy machine for long.
    """
    import torch

    before, threads = dict(os.environ), torch.get_num_threads()
    os.environ["PEFT_STUDIO_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    torch.set_num_threads(1)
    yield
    os.environ.clear()
    os.environ.update(before)
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def make_tokenizer() -> Callable[..., Any]:
    """Make a tiny tokenizer with any chat template."""
    return tiny_tokenizer


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Path]:
    """Make a model folder; settings change the configuration of the tiny Llama."""
    return write_tiny_model


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny Llama with tokenizer and chat template."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def facts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 prompt/completion pairs as JSON Lines."""
    return write_facts(tmp_path_factory.mktemp("datasets") / "facts.jsonl")


MakeJob = Callable[..., Path]


@pytest.fixture
def make_job(tmp_path: Path, tiny_model: Path, facts_file: Path) -> MakeJob:
    """Make a job folder with any settings of `TrainingConfig`; short, exact and quick unless told otherwise."""

    def make(name: str = "job", **settings: Any) -> Path:
        config = {
            "base_model": str(tiny_model),
            "dataset_path": str(facts_file),
            "learning_rate": 0.01,
            "rank": 4,
            "batch_size": 8,
            "num_epochs": 1,
            "dtype": "float32",
        } | settings
        folder = tmp_path / name
        folder.mkdir()
        job = {"id": name, "config": config, "created": "2026-01-01T00:00:00Z"}
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        return folder

    return make


class Events(list[dict[str, Any]]):
    """Collects what a trainer reports; can ask it to stop after a step."""

    def __init__(self, stop_after: int | None = None) -> None:
        super().__init__()
        self.stop = threading.Event()
        self.stop_after = stop_after

    def __call__(self, kind: str, /, **fields: Any) -> None:
        self.append(json.loads(json.dumps({"type": kind, **fields}, allow_nan=False)))
        if kind == "step" and fields["step"] == self.stop_after:
            self.stop.set()

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The events of one type."""
        return [event for event in self if event["type"] == kind]

    def messages(self) -> list[str]:
        """What was said in the log."""
        return [event["message"] for event in self.of("log")]

    def losses(self) -> list[float]:
        """The loss of each step."""
        return [event["loss"] for event in self.of("step")]


class Train:
    """Trains a job folder in this process, and gives back the events."""

    def __call__(self, folder: Path, *, stop_after: int | None = None) -> Events:
        from peft_studio_worker.training.session import train_job

        events = Events(stop_after)
        finished = train_job(folder, events, events.stop)
        assert finished is (folder / "artifact").is_dir()
        return events

    @staticmethod
    def silent(kind: str, /, **fields: Any) -> None:
        """For those who do not want to hear."""


@pytest.fixture
def train() -> Train:
    """Train a job folder in this process; the events come back."""
    return Train()


StartTrainer = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start_trainer() -> Iterator[StartTrainer]:
    """Start the real trainer process, as the supervisor does; whatever still runs at the end of the test is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path, **options: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "peft_studio_worker", "train", str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"GOMP_SPINCOUNT": "1000"}, **options,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout, process.stderr):
            stream.close()

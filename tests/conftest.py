"""A user at a shell: an empty home, the real command line, tiny models to train."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from peft_studio import ConnectorManager, Ledger
from peft_studio_runpod.connector import RunpodConnector
from peft_studio_runpod.sandbox import RunpodSandbox
from peft_studio_testkit.tiny_model import write_facts, write_tiny_model

ROOT = Path(__file__).parents[1]
#: These take minutes, most of them waiting, whoever computes beside.
LONGEST = ["test_rented_faults.py", "test_rented_pauses.py", "test_demo_command.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest begin first: several run at a time, and none is to be waited for in the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny Llama with tokenizer and chat template."""
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny-llama")


@pytest.fixture(scope="session")
def facts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 prompt/completion pairs as JSON Lines."""
    return write_facts(tmp_path_factory.mktemp("datasets") / "facts.jsonl")


@define
class Studio:
    """`peft-studio` as a user types it, in an empty home."""

    home: Path
    program: Path = field(factory=lambda: Path(sys.executable).with_name("peft-studio"))
    environment: dict[str, str] = field(factory=dict)
    started: list[subprocess.Popen[str]] = field(factory=list)

    def __call__(self, *arguments: str | Path, code: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; `code` is the exit code that is expected, None for any."""
        done = subprocess.run(
            self._command(arguments),
            capture_output=True,
            text=True,
            check=False,
            env=self._environment(),
            cwd=self.home,
        )
        assert code is None or code == done.returncode, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str | Path) -> Any:
        """The document that a command prints with --json."""
        return json.loads(self(*arguments, "--json").stdout)

    def start(self, *arguments: str | Path) -> subprocess.Popen[str]:
        """Start a command and let it run."""
        process = subprocess.Popen(
            self._command(arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.home,
            env=self._environment(), stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.started.append(process)
        return process

    def submit(self, config: Path, *arguments: str | Path) -> str:
        """Start a job in the background; its id."""
        return str(self.json("run", config, "--detach", *arguments)["id"])

    def folder(self, job: str) -> Path:
        """The folder of a local job."""
        return self.home / "data" / "jobs" / job

    def events(self, job: str) -> list[dict[str, Any]]:
        """A job's events, as `jobs logs --json` prints them."""
        return [json.loads(line) for line in self("jobs", "logs", job, "--json").stdout.splitlines()]

    def until(self, job: str, kind: str, **fields: Any) -> None:
        """Wait for an event of a running job."""
        follower = self.start("jobs", "logs", job, "--follow", "--json")
        assert follower.stdout is not None
        for line in follower.stdout:
            event = json.loads(line)
            if event["type"] == kind and fields.items() <= event.items():
                follower.kill()
                break
        else:
            pytest.fail(f"the job ended without a {kind} event of {fields}")
        follower.wait()
        follower.stdout.close()

    def processes(self, job: str, role: str) -> list[int]:
        """Process ids of a job's "supervise" or "train" process."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "cmdline").read_bytes().decode().split("\0")
            except OSError:  # ended while we looked
                continue
            if role in words and any(word.endswith(job) for word in words):
                found.append(int(entry.name))
        return found

    def _command(self, arguments: tuple[str | Path, ...]) -> list[str]:
        return [str(self.program), *map(str, arguments)]

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PEFT_STUDIO_")}
        return {**kept, "PEFT_STUDIO_HOME": str(self.home), "COLUMNS": "120", **self.environment}

    def close(self) -> None:
        """Leave nothing running."""
        for process in self.started:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()
        for folder in (self.home / "data" / "jobs").glob("*"):
            for process_id in self.processes(folder.name, "supervise"):
                os.kill(process_id, signal.SIGKILL)


@pytest.fixture(scope="session")
def wheel_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Builds the wheel of a project of this checkout, once."""

    @cache
    def build(project: Path) -> Path:
        folder = tmp_path_factory.mktemp(f"{project.name}-wheel")
        command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
        subprocess.run(command, capture_output=True, check=True, cwd=project)
        (wheel,) = folder.glob("*.whl")
        return wheel

    return build


@pytest.fixture(scope="session")
def unpacked(wheel_of: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Makes a folder for the path that holds a project's wheel, unpacked as an installer would."""

    @cache
    def unpack(project: Path) -> Path:
        folder = tmp_path_factory.mktemp(project.name)
        zipfile.ZipFile(wheel_of(project)).extractall(folder)
        return folder

    return unpack


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    """The command line in an empty home."""
    home = tmp_path / "home"
    home.mkdir()
    opened = Studio(home)
    yield opened
    opened.close()


@pytest.fixture
def all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs compute on as many cores as a user's do, where the run of the tests has told them to take one."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


WriteConfig = Callable[..., Path]


@pytest.fixture
def write_config(tmp_path: Path, tiny_model: Path, facts_file: Path) -> WriteConfig:
    """A config file of a job that trains in seconds, with any field changed."""

    def write(name: str = "job.json", **settings: Any) -> Path:
        config = {
            "base_model": str(tiny_model),
            "dataset_path": str(facts_file),
            "learning_rate": 0.01,
            "rank": 4,
            "batch_size": 8,
            "num_epochs": 2,
            "dropout": 0.1,
            "dtype": "float32",
        } | settings
        path = tmp_path / name
        path.write_text(json.dumps(config), encoding="utf-8")
        return path

    return write


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty one."""
    with Ledger(tmp_path / "ledger.sqlite3") as opened:
        yield opened


@pytest.fixture
async def manager(sandbox: RunpodSandbox, ledger: Ledger) -> AsyncIterator[ConnectorManager]:
    """Connected to the sandbox of RunPod that a test has."""
    credentials = {"runpod": sandbox.credentials()}
    async with ConnectorManager(
        ledger=ledger, connectors=[RunpodConnector], discover=False, credentials=credentials
    ) as made:
        yield made

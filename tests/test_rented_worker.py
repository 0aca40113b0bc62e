"""Core's client and a real worker on loopback: a job goes there, is followed, and its adapter comes home."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from peft_studio import (
    ArtifactNotFound,
    ConnectionFailed,
    InvalidCredentials,
    PlatformError,
    TrainingConfig,
)
from peft_studio.artifacts import verify
from peft_studio.models import JobEvent, JobStatus
from peft_studio.rented import Input, Worker, inputs_of

TOKEN = "token-of-this-job-alone-0123456789"


class Machine:
    """A machine that serves one job."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._port = "0"

    def boot(self) -> None:
        """Start the worker, under the port that it had before."""
        variables = {"JOB": "ps-job", "TOKEN": TOKEN, "ROOT": str(self.folder), "HOST": "127.0.0.1", "PORT": self._port}
        environment = os.environ | {f"PEFT_STUDIO_WORKER_{name}": value for name, value in variables.items()}
        with (self.folder.parent / "stderr.txt").open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "peft_studio_worker", "serve"], env=environment, stderr=said
            )
        while not (
            found := re.search(r"at (http://127\.0\.0\.1:(\d+))", (self.folder.parent / "stderr.txt").read_text())
        ):
            assert self._process.poll() is None, (self.folder.parent / "stderr.txt").read_text()
            time.sleep(0.02)
        self.address, self._port = found[1], found[2]

    def crash(self) -> None:
        """Kill the worker; the job's own processes go on."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        """Kill everything."""
        self.crash()
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                is_ours = os.fsencode(self.folder / "ps-job") in entry.read_bytes().split(b"\0")
            except OSError:  # ended while we looked
                continue
            if is_ours:
                os.kill(int(entry.parent.name), signal.SIGKILL)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """One that is up."""
    folder = tmp_path / "machine"
    folder.mkdir()
    rented = Machine(folder)
    rented.boot()
    yield rented
    rented.end()


@pytest.fixture
def config(tiny_model: Path, facts_file: Path) -> Callable[..., TrainingConfig]:
    """A job that trains in seconds."""

    def make(**settings: Any) -> TrainingConfig:
        return TrainingConfig.from_dict(
            {
                "base_model": str(tiny_model),
                "dataset_path": str(facts_file),
                "learning_rate": 0.01,
                "rank": 4,
                "batch_size": 8,
                "num_epochs": 1,
                "dtype": "float32",
                **settings,
            }
        )

    return make


async def start(worker: Worker, config: TrainingConfig, tell: Any = None) -> None:
    """Submit, as a rented machine is submitted to."""
    there, inputs = inputs_of(config)
    await worker.start(there, inputs, created=datetime.now(UTC), tell=tell)


async def follow(worker: Worker, seen: list[JobEvent], is_enough: Callable[[JobEvent], Any]) -> None:
    """Add the events after those that were seen, until one of them is enough."""
    async for event in worker.events(seen[-1].sequence if seen else 0):
        seen.append(event)
        if is_enough(event):
            return


@pytest.mark.slow
async def test_a_job_goes_there_and_its_adapter_comes_home(machine, config, tmp_path):
    """The events are those of the log, the artifact is byte for byte the machine's."""
    async with Worker(machine.address, TOKEN) as worker:
        assert await worker.is_there()
        assert (await worker.state()).status is JobStatus.PENDING
        seen: list[tuple[int, int]] = []
        await start(worker, config(), lambda there, size: seen.append((there, size)))
        await start(worker, config())
        with pytest.raises(ArtifactNotFound):
            await worker.download(tmp_path / "early")
        events = [event async for event in worker.events()]
        state = await worker.state()
        manifest = await worker.download(tmp_path / "adapter")
        await worker.acknowledge(manifest)

    size = sum(each.size for each in inputs_of(config())[1])
    assert (size, size) == seen[-1]
    assert sorted(seen) == seen
    assert list(range(1, len(events) + 1)) == [event.sequence for event in events]
    assert (JobStatus.COMPLETED, True) == (state.status, state.has_artifact)
    assert manifest == verify(tmp_path / "adapter") == verify(machine.folder / "ps-job" / "artifact")
    assert [] == [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.slow
async def test_a_worker_that_crashes_meanwhile_loses_nothing(machine, config):
    """The stream breaks off with an error; another one goes on after the last event, and a paused job resumes."""
    async with Worker(machine.address, TOKEN) as worker:
        await start(worker, config(num_epochs=2000, checkpoint_steps=5))
        seen: list[JobEvent] = []
        with pytest.raises(ConnectionFailed):
            await follow(worker, seen, lambda event: event.type == "checkpoint" and machine.crash())
        machine.boot()
        await worker.stop("pause")
        await follow(worker, seen, lambda event: event.data.get("status") == "paused")
        assert (JobStatus.PAUSED, True) == ((await worker.state()).status, (await worker.state()).resumable)
        await worker.resume()
        await worker.stop("cancel")
        seen += [event async for event in worker.events(seen[-1].sequence)]

    assert list(range(1, len(seen) + 1)) == [event.sequence for event in seen]
    assert "cancelled" == seen[-1].data["status"]


async def test_an_upload_goes_on_where_it_ended(machine, tmp_path):
    """Piece by piece; what a crash of the worker has left is not sent again, and no byte is lost."""
    (tmp_path / "data.jsonl").write_bytes(os.urandom(1_000_000))
    data = Input.of(tmp_path / "data.jsonl")
    counts: list[int] = []

    def tell(there: int, size: int) -> None:
        counts.append(there)
        if there == 300_000:
            machine.crash()
            machine.boot()

    async with Worker(machine.address, TOKEN, piece=100_000) as worker:
        await worker.upload(data, tell)

    assert [100_000, 300_000, 700_000, 1_000_000] == counts  # a quick line gets larger pieces
    (arrived,) = (machine.folder / "ps-job" / "inputs").iterdir()
    assert data.sha256 == Input.of(arrived).sha256


async def test_a_file_that_changes_while_it_is_uploaded_is_refused(machine, tmp_path):
    """The job would train on something else than it says."""
    path = tmp_path / "data.jsonl"
    path.write_bytes(b"a" * 1000)
    data = Input.of(path)
    path.write_bytes(b"b" * 1000)
    async with Worker(machine.address, TOKEN) as worker:
        with pytest.raises(PlatformError):
            await worker.upload(data)


async def test_another_token_is_refused(machine):
    """In words of our own tree, and the token is in none of them."""
    async with Worker(machine.address, "another-token-of-another-job-0123456789") as worker:
        assert await worker.is_there()
        with pytest.raises(InvalidCredentials) as refused:
            await worker.state()

    assert "another-token" not in str(refused.value)


async def test_a_machine_that_is_not_up_yet(machine):
    """Nobody answers, or somebody else does in its place: it is not there."""
    machine.crash()
    async with Worker(machine.address, TOKEN) as worker:
        assert not await worker.is_there()

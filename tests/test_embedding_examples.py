"""The programs of examples/embedding, run as they are: a real server, a notebook's loop, workers that die."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from attrs import define, field

from peft_studio import Ledger

ROOT = Path(__file__).parents[1]
EMBEDDING = ROOT / "examples" / "embedding"

pytestmark = pytest.mark.slow


@pytest.fixture
def environment(studio) -> dict[str, str]:
    """What a program gets that the user of the empty home starts."""
    return {**os.environ, "PEFT_STUDIO_HOME": str(studio.home)}


# The FastAPI service.


@define
class Service:
    """The example under uvicorn, on a port that the system chose, and a client of it."""

    environment: dict[str, str]
    process: Any = field(init=False)
    url: str = field(init=False)

    def start(self) -> None:
        """Come back when it listens."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", "service:app", "--port", "0", "--app-dir", EMBEDDING / "fastapi_service"],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=self.environment,
        )  # fmt: skip
        for line in self.process.stderr:
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                self.url = found[0]
                return
        pytest.fail("the service did not start")

    def stop(self) -> None:
        """As a host does; it must end well."""
        self.process.terminate()
        rest = self.process.stderr.read()
        self.process.stderr.close()
        assert self.process.wait() in (0, -signal.SIGTERM), rest
        assert "Traceback" not in rest, rest

    def ask(self, path: str, body: Any = None, code: int = 200) -> Any:
        """The JSON that comes back."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request) as answer:
                status, content = answer.status, answer.read()
        except HTTPError as error:
            with error:
                status, content = error.code, error.read()
        assert code == status, content
        return json.loads(content)

    def events(self, job: str, after: int = 0) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """What a browser's EventSource would hear."""
        request = urllib.request.Request(f"{self.url}/jobs/{job}/events", headers={"Last-Event-ID": str(after)})
        with urllib.request.urlopen(request) as answer:
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            fields: dict[str, str] = {}
            for line in answer:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = value
                elif "data" in fields:
                    yield int(fields["id"]), fields["event"], json.loads(fields["data"])
                    fields = {}


@pytest.fixture
def service(environment, facts_file, tmp_path) -> Iterator[Service]:
    """The service, with one dataset to offer."""
    (tmp_path / "files").mkdir()
    shutil.copy(facts_file, tmp_path / "files" / "facts.jsonl")
    running = Service({**environment, "STUDIO_FILES": str(tmp_path / "files")})
    running.start()
    yield running
    running.stop()


def test_service(service, tiny_model):
    """A job is submitted, followed, interrupted by a restart of the service, followed on, and complete."""
    config = {"base_model": str(tiny_model), "dataset_path": "facts.jsonl", "rank": 4, "batch_size": 8, "num_epochs": 2}

    assert "local" in [connector["name"] for connector in service.ask("/connectors")]
    job = service.ask("/jobs", config, code=201)["id"]
    heard = []
    for event in service.events(job):
        heard.append(event)
        if event[1] == "step":
            break
    service.stop()
    service.start()
    heard += service.events(job, after=heard[-1][0])

    assert list(range(1, len(heard) + 1)) == [number for number, _, _ in heard]
    assert ("state", "completed") == (heard[-1][1], heard[-1][2]["status"])
    assert "completed" == service.ask(f"/jobs/{job}")["status"]
    assert [job] == [found["id"] for found in service.ask("/jobs")]
    assert [] == list(service.events(job, after=heard[-1][0]))


def test_service_refuses(service, tiny_model, facts_file):
    """A wrong config, somebody else's file, an unknown job and an unknown connector: each a sentence and a code."""
    config = {"base_model": str(tiny_model), "dataset_path": "facts.jsonl"}

    assert "did you mean 'rank'" in service.ask("/jobs", {**config, "r": 8}, code=422)["error"]
    for path in (str(facts_file), "../../facts.jsonl"):
        refused = service.ask("/jobs", {**config, "dataset_path": path, "output_dir": "adapter"}, code=422)["error"]
        assert "dataset_path must be below " in refused
        assert "output_dir is not for callers" in refused
    for path in ("/jobs/nobody", "/jobs/nobody/events"):
        assert "no job 'nobody'" in service.ask(path, code=404)["error"]
    assert "there is no connector 'nowhere'" in service.ask("/jobs", {**config, "provider": "nowhere"}, 404)["error"]
    assert [] == service.ask("/jobs")


def test_service_cancels(service, tiny_model):
    """A job is stopped by its id."""
    config = {"base_model": str(tiny_model), "dataset_path": "facts.jsonl", "rank": 4, "num_epochs": 400}
    job = service.ask("/jobs", config, code=201)["id"]

    assert "cancelled" == service.ask(f"/jobs/{job}/cancel", {})["status"]


# The notebook.

KERNEL = """
import asyncio, re, sys
from pathlib import Path

async def kernel(path):
    names = {"__name__": "__main__"}
    for cell in re.split(r"^# %%.*$", Path(path).read_text(), flags=re.MULTILINE):
        exec(compile(cell, path, "exec"), names)
        await asyncio.sleep(0)

asyncio.run(kernel(sys.argv[1]))
"""


@pytest.fixture
def desk(tmp_path, tiny_model) -> Path:
    """A folder with the notebook and its data; only the model is a small one."""
    text = (EMBEDDING / "notebook.py").read_text()
    assert "HuggingFaceTB/SmolLM2-135M-Instruct" in text
    (tmp_path / "notebook.py").write_text(text.replace("HuggingFaceTB/SmolLM2-135M-Instruct", str(tiny_model)))
    shutil.copy(ROOT / "examples/quickstart/lighthouse.jsonl", tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", [["notebook.py"], ["-c", KERNEL, "notebook.py"]], ids=["script", "running loop"])
def test_notebook(desk, environment, command):
    """Its cells work one after the other, as a program and inside a kernel's running event loop."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *command], capture_output=True, text=True, check=False, cwd=desk,
        env=environment,
    )  # fmt: skip

    assert (0, "") == (done.returncode, done.stderr)
    assert "adapter: notebook-adapter" == done.stdout.splitlines()[-1]
    first, last = map(float, re.findall(r"loss: ([\d.]+) -> ([\d.]+)", done.stdout)[0])
    assert last < first
    assert (desk / "notebook-adapter" / "adapter_model.safetensors").is_file()


# The worker processes.


@pytest.fixture
def queue(tmp_path, environment, write_config):
    """Adds tasks and runs workers, as a user does."""

    class Tasks:
        file = tmp_path / "queue.sqlite3"

        def command(self, *arguments: str | Path) -> list[str]:
            return [sys.executable, str(EMBEDDING / "worker_process.py"), *map(str, arguments)]

        def add(self, name: str, **settings: Any) -> str:
            config = write_config(f"{name}.json", **settings)
            done = subprocess.run(
                self.command("add", self.file, config), env=environment, check=True, capture_output=True, text=True
            )
            return done.stdout.strip()

        def work(self, processes: int) -> subprocess.Popen[str]:
            return subprocess.Popen(
                self.command("work", self.file, tmp_path / "adapters", "--processes", str(processes)),
                env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip

        def rows(self) -> dict[str, dict[str, Any]]:
            with closing(sqlite3.connect(self.file)) as db:
                db.row_factory = sqlite3.Row
                return {row["name"]: dict(row) for row in db.execute("SELECT * FROM tasks")}

    (tmp_path / "adapters").mkdir()
    return Tasks()


def test_a_task_that_fails_costs_the_others_nothing(queue, tmp_path):
    """Two workers, three tasks; the one that cannot be done says why."""
    good, other = queue.add("good", num_epochs=1), queue.add("other", num_epochs=1)
    bad = queue.add("bad", dataset_path="no-such-file.jsonl")
    workers = queue.work(processes=2)
    said, _ = workers.communicate()
    rows = queue.rows()

    assert 0 == workers.returncode, said
    assert {good: "done", bad: "failed", other: "done"} == {name: row["state"] for name, row in rows.items()}
    assert "no-such-file.jsonl does not exist" in rows[bad]["result"]
    for name in (good, other):
        assert (tmp_path / "adapters" / name / "manifest.json").is_file()
    assert workers.pid not in {row["worker"] for row in rows.values()}


def test_a_worker_that_dies_is_replaced_and_its_job_goes_on(queue, studio, tmp_path):
    """The second worker finds the job of the first: nothing is trained twice."""
    task = queue.add("task", num_epochs=30)
    workers = queue.work(processes=1)
    assert workers.stdout is not None
    for line in workers.stdout:
        if ": step 2 " in line:
            break
    first = queue.rows()[task]["worker"]
    os.kill(first, signal.SIGKILL)
    said = workers.stdout.read()
    workers.stdout.close()
    row = queue.rows()[task]

    assert 0 == workers.wait(), said
    assert f"worker {first} died and is replaced" in said
    assert ("done", str(tmp_path / "adapters" / task)) == (row["state"], row["result"])
    assert first != row["worker"]
    with Ledger(studio.home / "data" / "ledger.sqlite3") as ledger:
        assert [task] == [job.config["project_name"] for job in ledger.jobs()]

"""`peft-studio queue`, `run --offline` and `jobs cancel`, typed while a platform is away and when it is back."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from peft_studio import Ledger
from peft_studio.queue import NewOperation, Queue, State

#: The platform is a folder: `away` makes it unreachable, `price` is its price, `jobs` what was submitted there.
PLATFORM = """
import os, time
from pathlib import Path
from peft_studio import CapacityError, ConnectionFailed, JobStatus, PricingInfo, Resource, TrainingConnector

HERE = Path(os.environ["ACME_FOLDER"])

class Connector(TrainingConnector):
    name = "NAME"
    display_name = "The NAME platform"
    description = "Runs jobs"
    version = "1.0.0"

    async def connect(self, credentials):
        while (HERE / "hangs").exists(): time.sleep(0.05)
        if (HERE / "away").exists(): raise ConnectionFailed("no route to NAME")
        return True
    async def disconnect(self): pass
    async def submit_job(self, config):
        if (HERE / "full").exists(): raise CapacityError("no A100")
        with (HERE / "jobs").open("a") as jobs: jobs.write(config.tag + "\\n")
        return f"pod-of-{config.tag}"
    async def find_job(self, tag): return None
    async def get_job_status(self, job_id):
        return JobStatus.CANCELLED if (HERE / "cancelled").exists() else JobStatus.RUNNING
    async def cancel_job(self, job_id):
        (HERE / "cancelled").write_text(job_id)
        return True
    async def stream_logs(self, job_id):
        yield "first"
    async def download_artifact(self, job_id, destination): return Path(destination)
    async def list_resources(self): return [Resource(id="a", name="A")]
    async def get_pricing(self, resource_id): return PricingInfo(hourly_rate=(HERE / "price").read_text())
"""


@pytest.fixture
def platform(tmp_path, site):
    """The platform's folder; acme is installed."""
    folder = tmp_path / "platform"
    folder.mkdir()
    (folder / "price").write_text("1.50")
    site.add("acme", connector=PLATFORM, changes={
        "credentials": [{"key": "api_key", "env": "ACME_API_KEY", "required": False}],
    })  # fmt: skip
    return folder


@pytest.fixture
def typed(studio, platform):
    """Types a command."""
    return lambda *arguments, **options: studio(*arguments, ACME_FOLDER=str(platform), **options)


@pytest.fixture
def config(tmp_path):
    """A job for acme."""
    path = tmp_path / "job.toml"
    path.write_text('base_model = "model"\ndataset_path = "data.jsonl"\nprovider = "acme"\n')
    return path


def jobs(platform):
    """Tags that were submitted."""
    return (platform / "jobs").read_text().split() if (platform / "jobs").exists() else []


def table(done):
    """The rows of a table, without its headings."""
    return [line.split() for line in done.stdout.splitlines()[1:]]


def test_offline_run(typed, platform, config, home):
    """Queued without a word to anybody, listed as pending, submitted by a flush, once."""
    (platform / "away").touch()
    done = typed("run", config, "--offline")
    tag = done.stdout.strip()
    assert "queued as operation 1; submit it: peft-studio queue flush" in done.stderr
    assert [tag, "acme", "pending", "(queued)"] == table(typed("jobs", "list"))[0][:4]
    (job,) = json.loads(typed("jobs", "list", "--json").stdout)
    assert ("pending", "queued", None) == (job["status"], job["reason"], job["reachable"])

    assert "no route to acme" in typed("queue", "flush", code=5).stderr
    (platform / "away").unlink()
    assert f"1 submit_job {tag}: done (pod-of-{tag})\ndone 1, waiting 0, failed for good 0\n" == (
        typed("queue", "flush").stdout
    )
    assert [tag] == jobs(platform)
    assert "nothing waits in the queue" in typed("queue", "list").stderr
    assert "done" == json.loads(typed("queue", "list", "--all", "--json").stdout)[0]["state"]


def test_run_without_a_connection(typed, platform, config):
    """The job is queued, the exit code says that the platform was away, and trying again queues no second one."""
    (platform / "away").touch()
    for _ in range(3):
        done = typed("run", config, "--detach", code=5)
        assert "is queued: no route to acme" in done.stderr
        assert "try: peft-studio queue flush --watch" in done.stderr
    (waiting,) = json.loads(typed("queue", "list", "--json").stdout)

    (platform / "away").unlink()
    assert waiting["subject"] == typed("run", config, "--detach").stdout.strip()
    assert [waiting["subject"]] == jobs(platform)


def test_cancel_without_a_connection(typed, platform, config):
    """It is queued with a clear word about the costs, and done by the next command that reaches the platform."""
    tag = typed("run", config, "--detach").stdout.strip()
    (platform / "away").touch()
    done = typed("jobs", "cancel", tag, code=5)
    assert f"cancellation is queued; acme cannot be reached; job {tag} may cost until then: no route" in done.stderr

    (platform / "away").unlink()
    typed("jobs", "list")
    assert f"pod-of-{tag}" == (platform / "cancelled").read_text()
    assert "cancelled" == json.loads(typed("jobs", "list", "--json").stdout)[0]["status"]


def test_cancel_of_a_queued_job(typed, platform, config):
    """It is never submitted, and nobody is asked."""
    (platform / "away").touch()
    tag = typed("run", config, "--offline").stdout.strip()
    assert f"{tag} cancelled\n" == typed("jobs", "cancel", tag).stdout

    (platform / "away").unlink()
    typed("queue", "flush", code=6)
    assert [] == jobs(platform)


def test_jobs_list_rents_nothing(typed, platform, config):
    """A submission waits for the command that names it; the list only says that there is one."""
    typed("run", config, "--offline")

    assert "1 operation waits in the queue: peft-studio queue flush" in typed("jobs", "list").stderr
    assert [] == jobs(platform)


def test_jobs_list_and_a_platform_that_hangs(typed, platform, config, home):
    """A platform that never answers keeps the command for its budget at most, and the next command not at all."""
    with Queue(known_secrets=list) as queue:
        queue.enqueue(NewOperation(kind="stop_deployment", connector="acme", key="k", payload={"deployment_id": "e"}))
    hangs = platform / "hangs"
    hangs.touch()
    rescue = threading.Timer(60, lambda: hangs.unlink(missing_ok=True))
    rescue.start()
    typed("jobs", "list")
    rescue.cancel()

    assert hangs.exists()
    with Queue(known_secrets=list) as queue:
        assert [("acme", "no answer within 1.0 s")] == [(pause.connector, pause.reason) for pause in queue.pauses()]
        assert {State.WAITING} == {each.state for each in queue.operations()}


def test_a_price_is_asked_about(typed, platform, config):
    """Nobody to ask: it waits and says how to agree. With --yes it is submitted."""
    config.write_text(config.read_text() + 'resource_id = "a"\n')
    typed("run", config, "--offline")
    done = typed("queue", "flush", code=1)
    assert "it costs 1.50 USD an hour, which was not known when it was queued: submit it all the same?" in done.stderr
    assert "to say yes: peft-studio queue flush --yes" in done.stderr
    assert ["needs", "confirmation"] == table(typed("queue", "list"))[0][4:6]
    assert [] == jobs(platform)

    typed("queue", "flush", "--yes")
    assert 1 == len(jobs(platform))


@pytest.mark.parametrize(("answer", "submitted"), [("y", 1), ("n", 0)])
def test_a_price_is_asked_about_on_a_terminal(typed, platform, config, site, answer, submitted):
    """Who sits there is asked, and the answer counts."""
    config.write_text(config.read_text() + 'resource_id = "a"\n')
    typed("run", config, "--offline")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "peft_studio.cli", "queue", "flush"],
        stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONPATH": str(site.root), "ACME_FOLDER": str(platform)},
    )  # fmt: skip
    os.write(ours, f"{answer}\n".encode())
    said, _ = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)

    assert "submit it all the same? [y/N]" in said
    assert submitted == len(jobs(platform))


def test_limits_on_the_command_line(typed, config):
    """They are kept with the submission; what is not understood is refused before anything is queued."""
    assert (
        '--max_price_change must be like "10%"'
        in typed("run", config, "--offline", "--max-price-change", "10", code=3).stderr
    )
    typed("run", config, "--offline", "--max-price-change", "5%", "--max-age", "2h")
    shown = json.loads(typed("queue", "show", "1", "--json").stdout)

    assert {"max_price_change": "0.05", "max_age": 7200.0} == shown["payload"]["limits"]


def test_refused_retried_dropped(typed, platform, config):
    """What a platform refuses is kept with its words, can be tried again, and can be dropped."""
    (platform / "full").touch()
    tag = typed("run", config, "--offline").stdout.strip()
    assert "no A100" in typed("queue", "flush", code=6).stdout
    assert "dead" == table(typed("queue", "list"))[0][4]
    assert "failed" == json.loads(typed("jobs", "list", "--json").stdout)[0]["status"]

    assert f"1 submit_job {tag}: waits again\n" == typed("queue", "retry", "--dead").stdout
    assert "there is nobody to ask: say --yes" in typed("queue", "drop", "1", code=2).stderr
    assert f"1 submit_job {tag}: dropped\n" == typed("queue", "drop", "1", "--yes").stdout
    assert "cancelled" == json.loads(typed("jobs", "list", "--json").stdout)[0]["status"]
    (platform / "full").unlink()
    typed("queue", "flush")
    assert [] == jobs(platform)


def test_flush_of_one_connector(typed, site, platform, config):
    """Only what waits for the connectors that are named."""
    site.add("other", connector=PLATFORM)
    typed("run", config, "--offline")
    second = typed("run", config, "--offline", "--on", "other").stdout.strip()
    answer = json.loads(typed("queue", "flush", "other", "--json").stdout)

    assert {"done": 1, "dead": 0, "waiting": 0, "needs_confirmation": 0, "unreachable": {}} == answer
    assert [second] == jobs(platform)


def test_flush_watches(typed, platform, config, studio, site):
    """With --watch it goes on until the platform is back."""
    (platform / "away").touch()
    typed("run", config, "--offline")
    process = subprocess.Popen(
        [sys.executable, "-m", "peft_studio.cli", "queue", "flush", "--watch"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(site.root), "ACME_FOLDER": str(platform)},
    )  # fmt: skip
    while not _failures(process):
        time.sleep(0.05)  # until it has found the platform away
    (platform / "away").unlink()
    out, error = process.communicate(timeout=60)

    assert (0, 1) == (process.returncode, len(jobs(platform))), error
    assert "done 1, waiting 0" in out


def _failures(process):
    """How often the connector could not be reached."""
    assert process.poll() is None, process.communicate()
    with Queue(known_secrets=list) as queue:
        return sum(pause.failures for pause in queue.pauses())


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["run", "CONFIG", "--offline", "--sandbox"], 2, "--offline asks nobody"),
        (["run", "CONFIG", "--offline", "--on", "acne"], 9, "acne"),
        (["queue", "show", "9"], 9, "there is no operation 9 in the queue"),
        (["queue", "drop", "9", "--yes"], 9, "there is no operation 9 in the queue"),
        (["queue", "retry"], 2, "give an ID, or --dead alone"),
        (["queue", "drop", "--yes"], 2, "give an ID"),
    ],
)
def test_mistakes(typed, config, arguments, code, sentence):
    """One sentence and an exit code of its own."""
    done = typed(*[config if each == "CONFIG" else each for each in arguments], code=code)

    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_secret_in_a_config(typed, config, home):
    """A key that found its way into a config is not queued: neither it nor the job is anywhere."""
    config.write_text(config.read_text() + 'project_name = "with-canary-in-it"\n')
    done = typed("run", config, "--offline", code=3, ACME_API_KEY="canary")

    assert "payload.config.project_name holds a secret" in done.stderr
    with Ledger() as ledger:
        assert [] == ledger.jobs()
    assert not any(b"canary" in file.read_bytes() for file in (home / "data").iterdir())


def test_nothing_of_the_queue_without_one(tmp_path):
    """`jobs list` neither makes a queue nor imports what drains one."""
    program = (
        "import sys; from peft_studio.cli import main\n"
        "try: main(['jobs', 'list'])\n"
        "except SystemExit: pass\n"
        "print([name for name in ('asyncio', 'peft_studio.queue.drain') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert "[]" == done.stdout.splitlines()[-1]
    assert not (Path(os.environ["PEFT_STUDIO_HOME"]) / "data" / "queue.sqlite3").exists()

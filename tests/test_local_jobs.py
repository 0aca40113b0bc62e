"""The local connector through the command line: jobs that outlive whatever happens around them."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from pathlib import Path

import pytest

#: Steps enough to do something to the job while it runs.
LONG = {"num_epochs": 60, "checkpoint_steps": 20}
#: Half as many, for jobs that compute on all cores: three times the work for each step of so small a model.
SPREAD = {"num_epochs": 30, "checkpoint_steps": 20}
#: Does not end before the test has stopped it, however fast the machine is.
ENDLESS = {"num_epochs": 10_000, "checkpoint_steps": 20}


def digest(folder: Path) -> str:
    """Sha256 of the adapter's weights."""
    return hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()


def wait_until_dead(process_id: int) -> None:
    """Until no process has that id, or only a zombie."""
    for _ in range(2000):
        try:
            if Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except OSError:
            return
        time.sleep(0.01)
    pytest.fail(f"process {process_id} lives on")


def kill(studio, job: str, role: str, number: int = signal.SIGKILL) -> int:
    """Send a signal to the job's one process of that role."""
    (process_id,) = studio.processes(job, role)
    os.kill(process_id, number)
    return process_id


@pytest.fixture(scope="module")
def undisturbed(request, tmp_path_factory):
    """Sha256 of the adapter that a long run gives when nobody disturbs it; trained once."""
    known: dict[str, str] = {}

    def of(studio, config: Path) -> str:
        if "digest" not in known:
            out = tmp_path_factory.mktemp("undisturbed") / "adapter"
            studio("run", config, "--out", out)
            known["digest"] = digest(out)
        return known["digest"]

    return of


@pytest.mark.slow
def test_run_to_the_end(studio, write_config, tmp_path):
    """`run` trains, tells each step as a line in a pipe, and leaves a verified adapter in the folder asked for."""
    done = studio("run", write_config(), "--out", tmp_path / "new" / "adapter")

    assert "step 12/12  loss" in done.stdout
    assert f"adapter: {tmp_path}/new/adapter" in done.stdout
    files = {path.name for path in (tmp_path / "new" / "adapter").iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "README.md", "manifest.json"} <= files
    (job,) = studio.json("jobs", "list")
    assert {"id", "connector", "status", "reason", "reachable", "created", "base_model", "cost"} == set(job)
    assert ("local", "completed", None) == (job["connector"], job["status"], job["reachable"])
    assert 12 == len([row for row in studio.json("jobs", "metrics", job["id"]) if row["type"] == "step"])
    studio("jobs", "metrics", job["id"], "--plot", tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    studio("jobs", "pull", job["id"], tmp_path / "pulled")
    assert digest(tmp_path / "pulled") == digest(tmp_path / "new" / "adapter")


@pytest.mark.slow
def test_client_is_killed(studio, write_config):
    """Kill -9 of the client does not touch the job; new viewers at the same time miss no event and see none twice."""
    client = studio.start("run", write_config(**LONG))
    assert client.stdout is not None
    for line in client.stdout:
        if line.startswith("step 5/"):
            break
    client.kill()
    client.wait()

    (job,) = studio.json("jobs", "list")
    assert "running" == job["status"]
    viewers = [studio.start("jobs", "logs", job["id"], "--follow", "--json") for _ in range(3)]
    (seen,) = {viewer.communicate()[0] for viewer in viewers}
    followed = seen.splitlines()
    sequences = [json.loads(line)["sequence"] for line in followed]
    assert list(range(1, len(sequences) + 1)) == sequences
    steps = [event["step"] for event in map(json.loads, followed) if event["type"] == "step"]
    assert list(range(1, 361)) == steps
    assert [json.loads(line) for line in followed] == studio.events(job["id"])
    assert followed[-1] == json.dumps(studio.events(job["id"])[-1], ensure_ascii=False)
    assert "completed" == studio.json("jobs", "show", job["id"])["status"]


@pytest.mark.slow
@pytest.mark.usefixtures("all_cores")
def test_supervisor_is_killed(studio, write_config, undisturbed, tmp_path):
    """Kill -9 of the supervisor ends the trainer too; the job is failed, says why, and resumes to the same weights."""
    config = write_config(**SPREAD)
    job = studio.submit(config)
    studio.until(job, "checkpoint", step=40)
    trainer = studio.processes(job, "train")[0]
    kill(studio, job, "supervise")
    wait_until_dead(trainer)

    shown = studio.json("jobs", "show", job)
    assert ("failed", True) == (shown["status"], shown["resumable"])
    assert "the supervisor ended without a word" in shown["reason"]
    studio("jobs", "resume", job)
    studio("jobs", "pull", job, tmp_path / "adapter")
    assert undisturbed(studio, config) == digest(tmp_path / "adapter")
    steps = [row["step"] for row in studio.json("jobs", "metrics", job) if row["type"] == "step"]
    assert list(range(1, 181)) == steps


@pytest.mark.slow
@pytest.mark.usefixtures("all_cores")
def test_pause_and_resume(studio, write_config, undisturbed, tmp_path):
    """A paused job goes on from its step, and its weights are those of an undisturbed run."""
    config = write_config(**SPREAD)
    job = studio.submit(config, "--out", tmp_path / "adapter")
    studio.until(job, "step", step=30)

    assert "paused" == studio.json("jobs", "pause", job)["status"]
    assert [] == studio.processes(job, "train")
    studio("jobs", "resume", job)
    assert undisturbed(studio, config) == digest(tmp_path / "adapter")


@pytest.mark.slow
def test_trainer_is_killed(studio, write_config):
    """A trainer that is killed, by the system or by hand, fails the job with the signal's name."""
    job = studio.submit(write_config(**ENDLESS))
    studio.until(job, "step", step=3)
    kill(studio, job, "train")
    studio("jobs", "logs", job, "--follow")

    shown = studio.json("jobs", "show", job)
    assert ("failed", True) == (shown["status"], shown["resumable"])
    assert "the trainer was killed by SIGKILL (the system may have run out of memory)" == shown["reason"]


@pytest.mark.slow
def test_machine_goes_down(studio, write_config):
    """SIGTERM to the supervisor, as at a shutdown, pauses the job with a checkpoint; cancelled, it is not started."""
    job = studio.submit(write_config(**ENDLESS))
    studio.until(job, "step", step=3)
    wait_until_dead(kill(studio, job, "supervise", signal.SIGTERM))

    shown = studio.json("jobs", "show", job)
    assert ("paused", True, "the machine asked the job to stop") == (
        shown["status"], shown["resumable"], shown["reason"],
    )  # fmt: skip
    assert "cancelled" == studio.json("jobs", "cancel", job)["status"]
    assert [] == studio.processes(job, "train") + studio.processes(job, "supervise")


def test_machine_was_restarted(studio, write_config):
    """A job whose last word is older than the machine's start says so."""
    job = studio.submit(write_config(**ENDLESS))
    studio.until(job, "state", status="running")
    wait_until_dead(kill(studio, job, "supervise"))
    for process_id in studio.processes(job, "train"):  # nobody waits for it to import torch and notice
        os.kill(process_id, signal.SIGKILL)
    os.utime(studio.folder(job) / "events.jsonl", (1, 1))

    assert "the machine was restarted at " in studio.json("jobs", "show", job)["reason"]


@pytest.mark.slow
def test_cancel(studio, write_config, tmp_path):
    """A job keeps its output folder from others; cancelled it stops, for good, and gives the folder back."""
    job = studio.submit(write_config(**ENDLESS), "--out", tmp_path / "adapter")
    refused = studio("run", write_config("other.json"), "--out", tmp_path / "adapter", code=3)
    assert f"output folder {tmp_path}/adapter is not empty" in refused.stderr
    assert [job] == [each["id"] for each in studio.json("jobs", "list")]
    studio.until(job, "step", step=3)

    assert "cancelled" == studio.json("jobs", "cancel", job)["status"]
    assert "cancelled" == studio.json("jobs", "cancel", job)["status"]
    assert [] == studio.processes(job, "train") + studio.processes(job, "supervise")
    assert "is cancelled and cannot be resumed" in studio("jobs", "resume", job, code=6).stderr
    assert "has no adapter yet" in studio("jobs", "pull", job, tmp_path / "pulled", code=8).stderr
    assert [] == list((tmp_path / "adapter").iterdir())


@pytest.mark.slow
def test_time_limit(studio, write_config):
    """A job that reaches max_duration stops with a checkpoint and says why."""
    done = studio("run", write_config(**ENDLESS, max_duration=8), code=None)
    (job,) = studio.json("jobs", "list")

    assert ("paused", 11) == (job["status"], done.returncode)
    assert "max_duration of 8 s" in done.stderr


@pytest.mark.slow
def test_cost_limit(studio, write_config):
    """With a price of electricity a job has a cost, and stops before it costs more than max_cost."""
    studio.environment |= {"PEFT_STUDIO_ELECTRICITY_PRICE": "0.45", "PEFT_STUDIO_POWER_WATTS": "1000000"}
    done = studio("run", write_config(**ENDLESS, max_cost="1.00"), code=11)
    (job,) = studio.json("jobs", "list")

    assert "max_cost of 1.00 USD reached" in done.stderr
    assert 0.9 < float(job["cost"]) < 2.0

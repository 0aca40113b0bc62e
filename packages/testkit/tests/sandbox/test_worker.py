"""A platform whose jobs really run."""

from __future__ import annotations

import json
import os
import subprocess
import time

import pytest

from peft_studio.artifacts import verify
from peft_studio.models import JobStatus
from peft_studio_testkit.tiny_model import facts, write_lines, write_tiny_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """A tiny model and data for it, on this machine."""
    folder = tmp_path_factory.mktemp("machine")
    write_tiny_model(folder / "model")
    write_lines(folder / "facts.jsonl", [{"prompt": asked, "completion": told} for asked, told in facts()])
    return folder


@pytest.fixture
def sandbox(acme):
    """The platform with the worker as its engine."""
    with type(acme)(worker=True) as sandbox:
        yield sandbox


@pytest.fixture
def config(machine, tmp_path):
    """A job of a few steps."""
    return {
        "base_model": str(machine / "model"), "dataset_path": str(machine / "facts.jsonl"), "rank": 2, "max_steps": 3,
        "dtype": "float32", "output_dir": str(tmp_path / "clients"), "provider": "acme",
    }  # fmt: skip


def test_a_job_trains_and_leaves_an_adapter(sandbox, client, config, tmp_path):
    """Lines of a real training, and a verified adapter, over the platform's own API."""
    id = client.post("/v1/jobs", json=config).json()["id"]
    text = client.get(f"/v1/jobs/{id}/logs", timeout=120).text
    assert "step 3/3  loss" in text
    assert text.endswith("event: end\ndata: completed\n\n")
    files = client.get(f"/v1/jobs/{id}").json()["files"]
    assert "adapter_model.safetensors" in files
    assert 2 == json.loads(client.get(f"/v1/jobs/{id}/files/adapter_config.json").content)["r"]
    verify(sandbox.jobs[id].files.folder)
    assert not (tmp_path / "clients").exists()
    assert not sandbox.jobs[id].cancel()


def test_pause_resume_cancel(sandbox, config):
    """The requests reach the worker; a paused job goes on from its checkpoint."""
    job = sandbox.jobs.add({**config, "max_steps": 100_000, "num_epochs": 100_000})
    assert not job.resume()
    _until(lambda: any(line.startswith("step 5/") for line in job.lines), job)
    assert job.pause()
    sandbox.advance_until(job.id, JobStatus.PAUSED)
    paused_at = _last_step(job)
    assert job.resume()
    sandbox.advance_until(job.id, JobStatus.RUNNING)
    _until(lambda: _last_step(job) > paused_at, job)
    assert job.cancel()
    assert JobStatus.CANCELLED is job.status
    job._process.wait(30)  # the worker was told, too
    with pytest.raises(ValueError, match="is cancelled and will not be completed"):
        sandbox.advance_until(job.id, JobStatus.COMPLETED)
    assert {} == dict(job.files)


def test_a_paused_job_can_be_cancelled(sandbox, config):
    """Nobody works on it, and still it is over."""
    job = sandbox.jobs.add({**config, "max_steps": 100_000, "num_epochs": 100_000})
    _until(lambda: any(line.startswith("step 1/") for line in job.lines), job)
    job.pause()
    sandbox.advance_until(job.id, JobStatus.PAUSED)
    assert job.cancel()
    assert JobStatus.CANCELLED is job.status


def test_the_workers_refusal_is_the_reason(sandbox, config):
    """What the trainer says of bad data is what the platform says."""
    job = sandbox.jobs.add({**config, "dataset_path": "/no/such.jsonl"})
    sandbox.advance_until(job.id, JobStatus.FAILED)
    assert "/no/such.jsonl" in job.reason
    with pytest.raises(ValueError, match="is failed and will not be completed"):
        sandbox.advance_until(job.id, JobStatus.COMPLETED)


def test_a_config_that_is_none_is_answered_400(sandbox, client, config):
    """With the sentence that names the fault; nothing was started, and it is no bug of the sandbox."""
    answer = client.post("/v1/jobs", json={**config, "rnk": 4})
    assert 400 == answer.status_code
    assert "unknown key 'rnk'" in answer.json()["error"]["message"]
    assert (0, []) == (len(sandbox.jobs), sandbox.errors)


def test_a_worker_that_was_killed_is_a_failed_job(sandbox, config):
    """A status never hangs on a process that is gone."""
    job = sandbox.jobs.add({**config, "max_steps": 100_000, "num_epochs": 100_000})
    _until(lambda: job.status is JobStatus.RUNNING, job)
    os.killpg(job._process.pid, 9)
    sandbox.advance_until(job.id, JobStatus.FAILED)
    assert "without a word" in job.reason


def test_nothing_stays_after_stop(acme, config):
    """Processes are ended, folders removed; the same holds for a reset."""
    with type(acme)(worker=True) as sandbox:
        for end in (sandbox.reset, sandbox.stop):
            job = sandbox.jobs.add({**config, "max_steps": 100_000, "num_epochs": 100_000})
            _until(lambda job=job: any(line.startswith("step 1/") for line in job.lines), job)
            folder, group = job._folder.path, job._process.pid
            end()
            assert not folder.exists()
            assert [] == _living(group)


def test_a_scripted_job_goes_by_its_script(sandbox, config):
    """`script` is for one job that does not run; seeded jobs do not run either."""
    sandbox.script(lines=["only this"], pending_seconds=0, running_seconds=0)
    assert ["only this"] == sandbox.jobs.add(config).lines
    assert JobStatus.PAUSED is sandbox.jobs.add(config, status=JobStatus.PAUSED).status


def _living(group: int) -> list[str]:
    """Processes of a group; those that have ended and wait to be noticed do not count."""
    listed = subprocess.run(["ps", "-eo", "pgid,stat,args"], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [command for owner, state, command in rows if owner == str(group) and state[0] not in "ZX"]


def _last_step(job) -> int:
    steps = [int(line.split()[1].partition("/")[0]) for line in job.lines if line.startswith("step ")]
    return max(steps, default=0)


def _until(condition, job) -> None:
    for _ in range(6000):
        if condition():
            return
        assert not job.status.is_terminal, (job.status, job.reason, job.lines)
        time.sleep(0.01)
    pytest.fail(f"it did not happen: {job.lines}")

"""Jobs whose life is a function of the clock."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from peft_studio.artifacts import verify
from peft_studio.models import JobStatus


def test_a_job_runs_as_the_clock_says(sandbox, client, create):
    """Pending, running and completed are moments of the clock; nothing happens between two advances."""
    id = create()
    seen = []
    for seconds in (0, 4, 1, 59, 1):
        sandbox.advance(seconds)
        seen.append(client.get(f"/v1/jobs/{id}").json()["status"])
    assert ["pending", "pending", "running", "running", "completed"] == seen


def test_many_small_steps_are_one_large(sandbox):
    """Ten times a tenth of a second is a second, whatever floating-point numbers make of it."""
    job = sandbox.jobs.add(pending_seconds=0, running_seconds=1)
    for _ in range(10):
        sandbox.advance(0.1)
    assert JobStatus.COMPLETED is job.status


def test_what_arrived_is_the_record(sandbox, create):
    """The record keeps what the platform was asked for, and its tag."""
    job = sandbox.jobs[create(rank=4, tag="ps-1")]
    assert {"rank": 4, "tag": "ps-1"} == job.received
    assert "ps-1" == job.tag
    assert [job] == sandbox.jobs.with_tag("ps-1")


def test_lines_are_spread_over_the_running_time(sandbox, create):
    """The first line comes when the job begins to run, the last one before its end."""
    sandbox.script(lines=["one", "two", "drei ✓"], pending_seconds=10, running_seconds=30)
    job = sandbox.jobs[create()]
    seen = []
    for seconds in (9, 1, 10, 9, 1, 10):
        sandbox.advance(seconds)
        seen.append(len(job.lines))
    assert [0, 1, 2, 2, 3, 3] == seen
    assert ["one", "two", "drei ✓"] == job.lines


def test_a_script_is_for_the_next_job_alone(sandbox, create):
    """The job after the scripted one goes as usual."""
    sandbox.script(fails="out of memory")
    first, second = create(), create()
    sandbox.advance(100)
    assert JobStatus.FAILED is sandbox.jobs[first].status
    assert "out of memory" == sandbox.jobs[first].reason
    assert {} == dict(sandbox.jobs[first].files)
    assert JobStatus.COMPLETED is sandbox.jobs[second].status
    assert sandbox.jobs[second].reason is None


def test_the_artifact_is_there_at_the_end(sandbox, create):
    """No file before the end; then a real adapter with a manifest that agrees."""
    job = sandbox.jobs[create()]
    sandbox.advance_until(job.id, JobStatus.RUNNING)
    assert [] == list(job.files)
    sandbox.advance_until(job.id, JobStatus.COMPLETED)
    assert ["adapter_config.json", "adapter_model.safetensors", "manifest.json"] == list(job.files)
    assert "LORA" == json.loads(job.files["adapter_config.json"])["peft_type"]
    verify(job.files.folder)


def test_the_example_adapter_is_one(sandbox, create):
    """PEFT reads its config, safetensors its weights."""
    peft = pytest.importorskip("peft")
    safetensors = pytest.importorskip("safetensors")
    folder = sandbox.jobs.add(status=JobStatus.COMPLETED).files.folder
    assert 2 == peft.PeftConfig.from_pretrained(str(folder)).r
    with safetensors.safe_open(str(folder / "adapter_model.safetensors"), "numpy") as weights:
        assert {(2, 8), (8, 2)} == {weights.get_tensor(name).shape for name in weights.keys()}  # noqa: SIM118 -- no dict


def test_files_of_every_kind(sandbox, tmp_path: Path):
    """Bytes, made-up bytes by size, blocks of a function, and a copied file."""
    (tmp_path / "there").write_bytes(b"copied")
    files = {"a.bin": b"given", "b/c.bin": 3_000_000, "d.bin": lambda: iter([b"x", b"y"]), "e": tmp_path / "there"}
    sandbox.script(files=files)
    job = sandbox.jobs.add()
    sandbox.advance_until(job.id, JobStatus.COMPLETED)
    assert b"given" == job.files["a.bin"]
    assert 3_000_000 == len(job.files["b/c.bin"])
    assert job.files["b/c.bin"][: 1 << 20] != job.files["b/c.bin"][1 << 20 : 2 << 20]
    assert b"xy" == job.files["d.bin"]
    assert b"copied" == job.files["e"]
    verify(job.files.folder)


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", ""])
def test_a_file_stays_in_the_artifact(sandbox, name):
    """A name that leads out of the folder is refused when it is scripted."""
    with pytest.raises(ValueError, match="not a path inside the artifact"):
        sandbox.script(files={name: b""})


def test_a_paused_job_stands_still(sandbox, create):
    """Time that passes while a job is paused does not count for it."""
    sandbox.script(pending_seconds=5, running_seconds=60)
    job = sandbox.jobs[create()]
    assert not job.pause()
    sandbox.advance(35)
    assert job.pause()
    lines = job.lines
    sandbox.advance(1000)
    assert (JobStatus.PAUSED, lines) == (job.status, job.lines)
    assert job.resume()
    assert not job.resume()
    sandbox.advance(29)
    assert JobStatus.RUNNING is job.status
    sandbox.advance(1)
    assert JobStatus.COMPLETED is job.status


def test_a_cancelled_job_is_over(sandbox, create):
    """Cancelling works once, for a job that is not over; then nothing changes any more."""
    job = sandbox.jobs[create()]
    sandbox.advance_until(job.id, JobStatus.RUNNING)
    assert job.cancel()
    assert not job.cancel()
    sandbox.advance(1000)
    assert JobStatus.CANCELLED is job.status
    assert 1 == len(job.lines)
    assert not job.resume()


def test_advance_until_refuses_what_will_not_be(sandbox, create):
    """Waiting for an end that the script does not have is a mistake of the test, and is told."""
    sandbox.script(fails="no")
    job = sandbox.jobs[create()]
    with pytest.raises(ValueError, match=r"is pending and will not be completed by itself"):
        sandbox.advance_until(job.id, JobStatus.COMPLETED)
    sandbox.advance_until(job.id, JobStatus.FAILED)
    sandbox.advance_until(job.id, JobStatus.FAILED)
    with pytest.raises(ValueError, match=r"is failed and will not be running"):
        sandbox.advance_until(job.id, JobStatus.RUNNING)


@pytest.mark.parametrize("status", list(JobStatus))
def test_a_job_can_be_seeded_in_any_status(sandbox, status):
    """`add` with a status makes a job that has come so far."""
    job = sandbox.jobs.add({"rank": 1}, id="seeded", status=status)
    assert status is job.status
    assert job is sandbox.jobs["seeded"]
    assert (status is JobStatus.COMPLETED) == bool(job.files)


def test_one_entry_for_each_creation(sandbox, create):
    """The table counts creations; an id is given once."""
    ids = [create() for _ in range(3)]
    assert ids == list(sandbox.jobs)
    with pytest.raises(ValueError, match="already"):
        sandbox.jobs.add(id=ids[0])


def test_a_held_job_waits_for_its_begin(sandbox):
    """It stays pending whatever the clock says; its script counts from the begin, and its record is what came then."""
    job = sandbox.jobs.add({"rank": 4}, is_held=True)
    sandbox.advance(1000)
    assert JobStatus.PENDING is job.status
    with pytest.raises(ValueError, match="is pending and will not be completed by itself"):
        sandbox.advance_until(job.id, JobStatus.COMPLETED)
    assert job.begin({"rank": 8})
    assert not job.begin({"rank": 16})
    sandbox.advance(4)
    assert (JobStatus.PENDING, {"rank": 8}) == (job.status, job.received)
    sandbox.advance(1)
    assert JobStatus.RUNNING is job.status


def test_a_held_job_can_be_cancelled(sandbox):
    """And then it never begins."""
    job = sandbox.jobs.add(is_held=True)
    assert job.cancel()
    assert not job.begin({})
    sandbox.advance(1000)
    assert JobStatus.CANCELLED is job.status

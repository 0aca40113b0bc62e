"""`peft-studio reconcile` as a user types it, with acme and its fake platform."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from peft_studio import JobStatus

ROOT = Path(__file__).parents[1]


@pytest.fixture
def sandbox(unpacked, monkeypatch):
    """The platform; its clock stands still."""
    monkeypatch.syspath_prepend(str(unpacked(ROOT / "docs" / "examples" / "peft-studio-acme")))
    from peft_studio_acme.sandbox import AcmeSandbox

    with AcmeSandbox() as opened:
        yield opened


@pytest.fixture
def studio(studio, sandbox, unpacked):
    """The command line where acme is installed and its credentials are set."""
    site = unpacked(ROOT / "docs" / "examples" / "peft-studio-acme")
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    studio.environment |= {**sandbox.environment(), "PYTHONPATH": path, "PEFT_STUDIO_HTTP_RETRIES": "0"}
    return studio


@pytest.fixture
def config(sandbox, tmp_path):
    """A config file that acme accepts."""
    path = tmp_path / "job.json"
    path.write_text(json.dumps({**sandbox.training_config().to_dict(), "resource_id": "a100"}))
    return path


def living(account):
    """Id, standing and daily cost of everything that is alive."""
    return [(each["id"], each["standing"], each["daily_cost"]) for each in account["living"]]


def test_what_lives_and_what_it_costs(studio, sandbox, config):
    """Ours with its job, an orphan, and what others made, each with what it costs per day; the total is told."""
    job = studio.submit(config, "--on", "acme")
    twin = sandbox.jobs.add({"resource_id": "cpu"}, tag=job, status=JobStatus.RUNNING)
    foreign = sandbox.jobs.add(tag="ps-not-ours", status=JobStatus.RUNNING)
    (account,) = studio.json("reconcile")

    (ours,) = {each.id for each in sandbox.jobs.values()} - {twin.id, foreign.id}
    assert {(ours, "running", "47.76"), (twin.id, "orphaned", "1.92"), (foreign.id, "foreign", "1.92")} == set(
        living(account)
    )
    assert {"USD": "51.60"} == account["daily_costs"]
    told = studio("reconcile", "acme")
    assert "acme: 1 running, 1 orphaned, 1 foreign, 51.60 USD per day" in told.stderr
    assert job in told.stdout


def test_destroy_asks(studio, sandbox, config):
    """Without an answer nothing is ended; with --yes the orphan is, and only that."""
    job = studio.submit(config, "--on", "acme")
    twin = sandbox.jobs.add(tag=job, status=JobStatus.RUNNING)
    foreign = sandbox.jobs.add(tag="ps-not-ours", status=JobStatus.RUNNING)
    asked = subprocess.run(
        [str(studio.program), "reconcile", "--destroy"], input="n\n", text=True, capture_output=True, check=False,
        env=studio._environment(), cwd=studio.home,
    )  # fmt: skip
    assert f"end {twin.id} for good?" in asked.stderr
    assert JobStatus.RUNNING is twin.status
    done = studio("reconcile", "--destroy", "--yes")

    assert f"{twin.id} is gone" in done.stdout
    assert [JobStatus.CANCELLED, JobStatus.RUNNING] == [twin.status, foreign.status]
    assert "nothing is orphaned" in studio("reconcile", "--destroy").stderr


def test_json_does_not_ask(studio):
    """A program must say --yes."""
    assert "--json asks nothing: add --yes" in studio("reconcile", "--destroy", "--json", code=2).stderr


def test_lost_answer(studio, sandbox, config):
    """A submission whose answer was lost is found and listed like any other."""
    sandbox.faults.add("reset_after", method="POST", path="^/v1/jobs$")
    studio("run", config, "--on", "acme", "--detach", code=5)
    (account,) = studio.json("reconcile")
    (job,) = studio.json("jobs", "list")

    assert [job["id"]] == account["adopted"]
    assert ["running"] == [each["standing"] for each in account["living"]]
    assert 1 == len(sandbox.jobs)


def test_platform_that_is_down(studio, sandbox, config):
    """It is told, with the exit code for it; nothing is concluded."""
    job = studio.submit(config, "--on", "acme")
    sandbox.faults.add("refuse", times=None)

    assert "acme" in studio("reconcile", code=5).stderr
    assert "pending" == studio.json("jobs", "show", job)["status"]


def test_account_without_a_job(studio, sandbox):
    """An account whose credentials are set is listed, though this ledger has no job there."""
    foreign = sandbox.jobs.add(status=JobStatus.RUNNING)

    assert [(foreign.id, "foreign", "1.92")] == living(*studio.json("reconcile"))


def test_nobody_to_ask(studio):
    """Without a job and without credentials there is nothing to reconcile."""
    studio.environment.pop("ACME_API_KEY")

    assert [] == studio.json("reconcile")


def test_show_tells_the_price(studio, config):
    """What an hour of the job's machine costs, and what it has cost."""
    job = studio.submit(config, "--on", "acme")
    shown = studio.json("jobs", "show", job)

    assert ("1.99", "USD", 0.0, []) == tuple(
        shown[key] for key in ("hourly_rate", "currency", "running_seconds", "notes")
    )

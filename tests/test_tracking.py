"""One command from a config to a run at a tracker, with the tracker there or away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peft_studio_wandb.sandbox import WandbSandbox

from .conftest import Studio

pytestmark = pytest.mark.slow


@pytest.fixture
def tracker() -> Iterator[WandbSandbox]:
    """W&B on loopback."""
    with WandbSandbox() as sandbox:
        yield sandbox


def told(tracker: WandbSandbox, job: str) -> tuple[list[int], set[str], str]:
    """Steps, names of metrics, and how it ended."""
    run = tracker.runs[job]
    assert [] == tracker.run(job).history.replaced
    return [step for step, _ in run.metrics], {name for _, values in run.metrics for name in values}, run.status


def steps_of(studio: Studio, job: str) -> list[int]:
    """What the job itself says."""
    return [event["step"] for event in studio.events(job) if event["type"] == "step"]


def test_run_is_tracked(studio: Studio, tracker: WandbSandbox, write_config: Callable[..., Path]) -> None:
    """Every step, every line, the config and the end are at the tracker."""
    studio.environment |= tracker.environment()
    job = studio.json("run", write_config(), "--on", "local", "--track", "wandb")["id"]
    steps, names, status = told(tracker, job)
    assert (steps_of(studio, job), "finished") == (steps, status)
    assert {"train/loss", "train/learning_rate"} <= names
    lines = [event["message"] for event in studio.events(job) if event["type"] == "log"]
    assert lines == [line for line in tracker.runs[job].text if line in lines]


def test_tracker_that_was_away_gets_the_same(
    studio: Studio, tracker: WandbSandbox, write_config: Callable[..., Path]
) -> None:
    """The training ends as ever; the flush afterwards brings the whole run, once and in order."""
    studio.environment |= tracker.environment()
    tracker.faults.add("reset_before", times=None)
    done = studio("run", write_config(), "--on", "local", "--track", "wandb", "--json")
    assert "waiting in the queue" in done.stderr
    tracker.faults.clear()
    studio("queue", "flush")
    job = studio.json("jobs", "list")[0]["id"]
    steps, _, status = told(tracker, job)
    assert (steps_of(studio, job), "finished") == (steps, status)


def test_whoever_follows_a_job_tells_its_trackers(
    studio: Studio, tracker: WandbSandbox, write_config: Callable[..., Path]
) -> None:
    """A job that was let go of is told of by the command that follows it."""
    studio.environment |= tracker.environment()
    job = studio.submit(write_config(experiment_tracker="wandb"), "--on", "local")
    studio("jobs", "logs", job, "--follow")
    assert (steps_of(studio, job), "finished") == (told(tracker, job)[0], tracker.runs[job].status)


def test_name_that_tracks_nothing_is_refused(studio: Studio, write_config: Callable[..., Path]) -> None:
    """Before anything is submitted."""
    refused = studio("run", write_config(), "--track", "local", code=None)
    assert refused.returncode != 0
    assert "local does not record runs" in refused.stderr
    assert [] == studio.json("jobs", "list")


def test_trial_is_not_tracked(studio: Studio, write_config: Callable[..., Path]) -> None:
    """What ends with the command leaves no run behind, and says so rather than forgetting it."""
    refused = studio("run", write_config(), "--on", "runpod", "--sandbox", "--track", "wandb", code=2)
    assert "leave out --track" in refused.stderr

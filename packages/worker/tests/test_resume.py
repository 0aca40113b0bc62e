"""Stopping and going on: the final weights are those of a run that was never disturbed."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
from pathlib import Path

import pytest

from peft_studio.errors import InvalidConfig
from peft_studio_worker.training import checkpoints


def digest(folder: Path) -> str:
    """sha256 of the trained weights."""
    return hashlib.sha256((folder / "artifact" / "adapter_model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("algorithm", ["lora", "dora", "pissa", "adalora", "vera", "prefix_tuning"])
def test_a_resumed_run_ends_with_the_same_weights(algorithm, make_job, train) -> None:
    """Stopped in the middle of an epoch, with dropout and gradient accumulation: same bytes."""
    settings = {
        "algorithm": algorithm,
        "batch_size": 3,
        "gradient_accumulation_steps": 2,
        "num_epochs": 2,
        "dropout": 0.0 if algorithm == "prefix_tuning" else 0.2,
        "warmup_steps": 3,
        "lr_scheduler_type": "cosine",
    }
    straight, broken = make_job("straight", **settings), make_job("broken", **settings)

    train(straight)
    for step in (5, 11):
        assert train(broken, stop_after=step).of("checkpoint")[-1]["step"] == step
    rest = train(broken)

    assert [12, 13, 14, 15, 16] == [event["step"] for event in rest.of("step")]
    assert digest(straight) == digest(broken)


def test_the_same_job_gives_the_same_weights(make_job, train) -> None:
    """Twice the same config, twice the same bytes; another seed, other bytes."""
    first, second, other = make_job("a"), make_job("b"), make_job("c", seed=7)

    for folder in (first, second, other):
        train(folder)

    assert digest(first) == digest(second)
    assert digest(first) != digest(other)


def test_killed_between_checkpoints(make_job, train, start_trainer) -> None:
    """A trainer that is killed loses the steps since its last checkpoint, and nothing else.

    The next one comes to its end: nothing but events on stdout, the artifact last, exit code 0.
    """
    settings = {"num_epochs": 3, "checkpoint_steps": 4, "dropout": 0.1, "batch_size": 4}
    straight, killed = make_job("straight", **settings), make_job("killed", **settings)
    train(straight)

    victim = start_trainer(killed)
    for line in victim.stdout:
        if json.loads(line).get("step") == 6:
            break
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    again = start_trainer(killed)
    events = [json.loads(line) for line in again.stdout]

    assert 0 == again.wait(60)
    assert {"type": "artifact", "path": str(killed / "artifact")}.items() <= events[-1].items()
    numbers = [event["step"] for event in events if event["type"] == "step"]
    assert list(range(numbers[0], 37)) == numbers
    assert numbers[0] % 4 == 1
    assert digest(straight) == digest(killed)


def test_only_the_newest_checkpoints_are_kept(make_job, train) -> None:
    """Two of them, whole; no half-written folder beside them."""
    folder: Path = make_job(checkpoint_steps=1)

    train(folder)

    assert ["step-00000005", "step-00000006"] == sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_a_checkpoint_holds_no_pickle(make_job, train) -> None:
    """Tensors are safetensors, everything else is JSON."""
    folder: Path = make_job()

    train(folder)

    names = {path.name for path in (folder / "checkpoints" / "step-00000006").iterdir()}
    assert {"state.json", "tensors.safetensors"} == names


def test_a_half_written_checkpoint_is_not_there(make_job, train) -> None:
    """What a crash left under another name is not taken for a checkpoint."""
    folder: Path = make_job(checkpoint_steps=2)
    train(folder, stop_after=3)
    shutil.copytree(folder / "checkpoints" / "step-00000003", folder / "checkpoints" / ".step-00000009.partial")

    events = train(folder)

    assert [4, 5, 6] == [event["step"] for event in events.of("step")]


def test_a_damaged_checkpoint_is_refused(make_job, train) -> None:
    """A torn file is named; the run does not start over in silence."""
    folder: Path = make_job(checkpoint_steps=2)
    train(folder, stop_after=3)
    torn = folder / "checkpoints" / "step-00000003" / "tensors.safetensors"
    torn.write_bytes(torn.read_bytes()[:1000])

    with pytest.raises(InvalidConfig, match=r"checkpoint .*step-00000003 is damaged") as caught:
        train(folder)

    assert caught.value.remedy == "remove it to go on from an earlier one"


def test_a_checkpoint_of_another_adapter_is_refused(make_job, train) -> None:
    """Weights of another shape are not forced into the model."""
    folder: Path = make_job(rank=2)
    train(folder, stop_after=3)
    (other := make_job("other", rank=4)).joinpath("job.json").replace(folder / "job.json")

    with pytest.raises(InvalidConfig, match="belongs to another adapter"):
        train(folder)

    assert other.is_dir()


def test_max_duration_stops_with_a_checkpoint(make_job, train) -> None:
    """When the time is over the run says so, and can go on later."""
    folder: Path = make_job(max_duration=1e-9)

    events = train(folder)

    assert "stopping with a checkpoint after step 0: max_duration of 1e-09 s is over" == events.messages()[-1]
    assert 0 == events.of("checkpoint")[-1]["step"]
    assert checkpoints.newest(folder / "checkpoints") == folder / "checkpoints" / "step-00000000"

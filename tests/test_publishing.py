"""One command from a base model on the hub to a run at a tracker and an adapter on the hub; with both there, or away.

The base model comes from the hub's sandbox, as from the hub, to a machine that has nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from peft_studio.artifacts import verify
from peft_studio_huggingface.sandbox import HuggingFaceSandbox
from peft_studio_wandb.sandbox import WandbSandbox

from .conftest import Studio

pytestmark = pytest.mark.slow

WriteConfig = Callable[..., Path]


@pytest.fixture
def tracker() -> Iterator[WandbSandbox]:
    """W&B on loopback."""
    with WandbSandbox() as sandbox:
        yield sandbox


@pytest.fixture
def hub(tiny_model: Path) -> Iterator[HuggingFaceSandbox]:
    """The Hub on loopback, with a base model whose licence is known."""
    files = {path.name: path.read_bytes() for path in tiny_model.iterdir()}
    with HuggingFaceSandbox() as sandbox:
        sandbox.hub.add("acme/tiny-llama", {**files, "README.md": b"---\nlicense: apache-2.0\n---\n"})
        yield sandbox


@pytest.fixture
def user(studio: Studio, hub: HuggingFaceSandbox, tracker: WandbSandbox, tmp_path: Path) -> Studio:
    """A user of both, with an empty cache of models."""
    studio.environment |= {**hub.environment(), **tracker.environment(), "HF_HOME": str(tmp_path / "hf")}
    return studio


def published(hub: HuggingFaceSandbox, name: str = "me/my-adapter") -> dict[str, Any]:
    """What a repository holds, as one can compare it: times and numbers of the job left out."""
    repository = hub.hub[name]
    files = {path: hub.hub.read(name, path) for path in repository.head.files}
    record = json.loads(files.pop("peft_studio.json"))
    return {**files, "record": {**record, "seconds": None}, "private": repository.private}


def tracked(tracker: WandbSandbox, job: str) -> dict[str, Any]:
    """What a run holds, as one can compare it."""
    run = tracker.run(job)
    assert [] == run.history.replaced
    rows = [
        (step, {name: value for name, value in values.items() if "per_second" not in name})
        for step, values in tracker.runs[job].metrics
    ]
    own = ("tag", "output_dir")
    config = {name: value for name, value in tracker.runs[job].config.items() if name not in own}
    return {"rows": rows, "config": config, "status": tracker.runs[job].status}


def test_one_command_from_the_hub_to_the_hub(
    user: Studio, hub: HuggingFaceSandbox, tracker: WandbSandbox, write_config: WriteConfig, tmp_path: Path
) -> None:
    """Base model fetched, job tracked, adapter published with a whole card; then found, shown and pulled by name."""
    config = write_config(base_model="acme/tiny-llama", validation_split=0.2)
    told = user("run", config, "--on", "local", "--track", "wandb", "--push", "huggingface:me/my-adapter")
    assert "pushed: huggingface:me/my-adapter" in told.stdout
    (job,) = user.json("jobs", "list")
    steps = [event["step"] for event in user.events(job["id"]) if event["type"] == "step"]
    there = tracked(tracker, job["id"])
    assert (steps, "finished") == ([step for step, _ in there["rows"]], there["status"])
    assert published(hub)["private"]
    card = published(hub)["README.md"].decode()
    for part in ("license: apache-2.0", "base_model: acme/tiny-llama", "facts.jsonl", "| rank | 4 |", "training loss"):
        assert part in card
    assert str(tmp_path) not in card + str(published(hub))
    assert not {"push_to", "experiment_tracker"} & set(published(hub)["record"]["config"])
    assert ["me/my-adapter"] == [model["id"] for model in user.json("models", "search", "adapter")]
    assert (2, 1) == tuple(len(user.json("models", "search", "m", "--limit", limit)) for limit in ("9", "1"))
    shown = user.json("models", "show", "huggingface:me/my-adapter")
    assert ("acme/tiny-llama", "apache-2.0") == (shown["base_model"], shown["license"])
    user("pull", "huggingface:me/my-adapter", tmp_path / "back")
    verify(tmp_path / "back")
    home = Path(user.json("jobs", "pull", job["id"], tmp_path / "again")["adapter"])
    weights = "adapter_model.safetensors"
    assert (home / weights).read_bytes() == (tmp_path / "back" / weights).read_bytes()


def test_what_was_away_gets_the_same(
    user: Studio, hub: HuggingFaceSandbox, tracker: WandbSandbox, write_config: WriteConfig, tiny_model: Path
) -> None:
    """With both down from the first moment to the last: the job is done as ever, and one flush later all is equal."""
    config = write_config(base_model=str(tiny_model))
    command = ("run", config, "--on", "local", "--track", "wandb", "--push", "huggingface:me/my-adapter", "--json")
    undisturbed = json.loads(user(*command).stdout)
    expected = published(hub), tracked(tracker, undisturbed["id"])
    hub.reset()
    tracker.reset()
    user.environment |= {**hub.environment(), **tracker.environment()}
    hub.faults.add("refuse", times=None)
    tracker.faults.add("refuse", times=None)
    done = user(*command)
    job = json.loads(done.stdout)
    assert ("completed", ["waiting"]) == (job["status"], [push["state"] for push in job["pushes"]])
    assert "waiting in the queue" in done.stderr
    assert Path(job["adapter"]).is_dir()
    hub.faults.clear()
    tracker.faults.clear()
    user("queue", "flush")
    assert expected == (published(hub), tracked(tracker, job["id"]))
    commits = dict(hub.hub["me/my-adapter"].branches)
    user("queue", "flush")
    assert commits == hub.hub["me/my-adapter"].branches


def test_job_that_was_let_go_of_is_published_by_whoever_follows(
    user: Studio, hub: HuggingFaceSandbox, write_config: WriteConfig
) -> None:
    """With the config's own `push_to`, and whatever command comes first: `jobs logs --follow`, or `queue flush`."""
    job = user.submit(write_config(push_to="huggingface:me/mine"), "--on", "local")
    user("jobs", "logs", job, "--follow")
    assert "adapter_model.safetensors" in published(hub, "me/mine")
    user("push", job, "huggingface:me/second@draft", "--message", "again")
    assert {"main", "draft"} == set(hub.hub["me/second"].branches)
    alone = user.submit(write_config(push_to="huggingface:me/third", max_steps=1), "--on", "local")
    while user.json("jobs", "show", alone)["status"] != "completed":
        pass
    user("queue", "flush")
    assert "adapter_model.safetensors" in published(hub, "me/third")


def test_refusal_is_told_and_the_adapter_stays(
    user: Studio, hub: HuggingFaceSandbox, write_config: WriteConfig, tmp_path: Path
) -> None:
    """A job whose adapter the registry does not take ends with another exit code, and the adapter at home."""
    config, out = write_config(), tmp_path / "out"
    done = user("run", config, "--out", out, "--push", "huggingface:acme/no%way", "--json", code=6)
    (push,) = json.loads(done.stdout)["pushes"]
    assert "dead" == push["state"]
    verify(out)


def test_mistakes_cost_nothing(
    user: Studio, hub: HuggingFaceSandbox, write_config: WriteConfig, tmp_path: Path
) -> None:
    """What cannot be right is refused before a job begins, or anything is sent."""
    config, filled = write_config(), tmp_path / "filled"
    filled.mkdir()
    (filled / "mine").touch()
    for arguments, code, sentence in (
        (("run", config, "--push", "local:mine"), 3, "local keeps no models"),
        (("run", config, "--push", "my-adapter"), 3, "says no place in a registry"),
        (("run", config, "--on", "runpod", "--sandbox", "--push", "huggingface:me/mine"), 2, "leave out"),
        (("push", "absent", "huggingface:me/mine"), 3, "neither a folder nor a job"),
        (("pull", "huggingface:me/mine", filled), 3, "is not empty"),
        (("pull", "huggingface:me/mine"), 8, "me/mine"),
    ):
        assert sentence in user(*arguments, code=code).stderr
    assert [] == user.json("jobs", "list")
    assert set() == {request.path for request in hub.requests if request.method == "POST"}


@pytest.mark.parametrize(
    ("variable", "option", "place"),
    [("HF_TOKEN", "--push", "huggingface:me/mine"), ("WANDB_API_KEY", "--track", "wandb")],
)
def test_refused_credentials_stop_a_job_before_it_begins(
    user: Studio, write_config: WriteConfig, variable: str, option: str, place: str
) -> None:
    """Not after hours of training that nobody recorded."""
    user.environment[variable] = "0123456789" * 5
    assert place.partition(":")[0] in user("run", write_config(), option, place, code=4).stderr
    assert [] == user.json("jobs", "list")


def test_any_registry_takes_the_same_commands(studio: Studio, unpacked: Callable[[Path], Path], tmp_path: Path) -> None:
    """With a connector as others write it: what was pushed is found, shown and pulled by its name."""
    studio("connectors", "new", "acme", "--feature", "registry", "--out", tmp_path / "acme")
    studio.environment["PYTHONPATH"] = str(unpacked(tmp_path / "acme"))
    server = studio.start("sandbox", "start", "acme", "--json", "--quiet")
    assert server.stdout is not None
    guide = "".join(iter(server.stdout.readline, "}\n")) + "}"
    studio.environment |= json.loads(guide)["variables"]
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_model.safetensors").write_bytes(b"weights")
    id = studio.json("push", adapter, "acme:mine", "--set", "base_model=acme/tiny")["id"]
    (model,) = studio.json("models", "search", "mine", "--on", "acme")
    assert (id, "mine") == (model["id"], model["name"])
    assert "acme/tiny" == studio.json("models", "show", f"acme:{id}")["base_model"]
    studio("pull", f"acme:{id}", tmp_path / "back")
    assert b"weights" == (tmp_path / "back" / "adapter_model.safetensors").read_bytes()

"""A job on a pod of RunPod's sandbox, where the real worker really trains: the pod comes and goes, whatever happens."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from peft_studio import ConnectorManager, JobEvent, JobStatus, TrainingConfig
from peft_studio.artifacts import read_manifest, verify
from peft_studio.homes import home_of
from peft_studio.reconcile import Reconciler
from peft_studio_runpod.sandbox import RunpodSandbox

pytestmark = pytest.mark.slow


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[RunpodSandbox]:
    """Pods are there at once, and run for real."""
    monkeypatch.setenv("PEFT_STUDIO_HOME", str(tmp_path / "home"))
    with RunpodSandbox(worker=True) as platform:
        platform.pods.provisioning_seconds = platform.pods.starting_seconds = 0.1
        yield platform


@pytest.fixture
def config(tiny_model: Path, facts_file: Path) -> Callable[..., TrainingConfig]:
    """A job that trains in a moment."""

    def make(**settings: object) -> TrainingConfig:
        values = {"base_model": str(tiny_model), "dataset_path": str(facts_file), "rank": 4, "dtype": "float32"}
        return TrainingConfig.from_dict({**values, "batch_size": 8, "num_epochs": 1, **settings})

    return make


async def watch(manager: ConnectorManager, id: str, seen: list[JobEvent], until: Callable[[JobEvent], bool]) -> None:
    """Follow until something happens; the program then goes away."""
    async for event in manager.jobs.follow(id, seen[-1].sequence if seen else 0):
        if event.sequence:
            seen.append(event)
            if until(event):
                return


async def test_the_adapter_comes_home_and_the_pod_is_gone(sandbox, manager, ledger, config):
    """Byte for byte what the pod wrote; the model and the data travelled; nothing that bills is left.

    The client vanishes before the upload: the pod waits, and another program with the same ledger brings the job there.
    """
    written: dict[str, str] = {}

    def is_over(event: JobEvent) -> bool:
        if event.data.get("status") == "completed":
            (pod,) = sandbox.pods.values()
            (artifact,) = (sandbox.folder / "pods" / pod.id / "mount").rglob("artifact/manifest.json")
            written.update(sha256=read_manifest(artifact.parent).sha256)
        return False

    job = await manager.jobs.submit("runpod", config(), feed=False)
    await manager.disconnect_all()
    assert JobStatus.PENDING is (await manager.jobs.get(job.id)).status
    seen: list[JobEvent] = []
    await watch(manager, job.id, seen, is_over)
    job = ledger.job(job.id)

    assert "completed" == seen[-1].data["status"]
    assert JobStatus.COMPLETED is job.status
    assert written["sha256"] == verify(home_of(job)).sha256
    assert ({}, 1) == (sandbox.bills(), len(sandbox.pods.ever))
    assert job.cost is not None
    assert 0 < job.cost < 0.05
    assert list(range(1, len(seen) + 1)) == [event.sequence for event in seen]
    adapter = json.loads((home_of(job) / "adapter_config.json").read_text())
    assert Path(config().base_model).name == adapter["base_model_name_or_path"]


async def test_a_job_is_paused_and_resumed_on_another_day(sandbox, manager, config):
    """A stopped pod bills its volume alone; resumed, the job goes on at its checkpoint, and no event is told twice."""
    job = await manager.jobs.submit("runpod", config(num_epochs=2000, checkpoint_steps=5))
    seen: list[JobEvent] = []
    await watch(manager, job.id, seen, lambda event: event.type == "step" and event.data["step"] >= 12)
    running = sandbox.bills()
    job = await manager.jobs.pause(job.id)
    (pod,) = sandbox.pods.values()
    (stopped,) = sandbox.bills().values()
    assert (JobStatus.PAUSED, "EXITED") == (job.status, pod.status)
    assert 0 < stopped < 0.1 * float(running[pod.id])
    await watch(manager, job.id, seen, lambda _: False)
    assert "paused" == seen[-1].data["status"]

    job = await manager.jobs.resume(job.id)
    await watch(manager, job.id, seen, lambda event: event.type == "step" and seen[-2].type == "step")
    steps = [event.data["step"] for event in seen if event.type == "step"]
    assert sorted(set(steps)) == steps
    job = await manager.jobs.cancel(job.id)
    assert (JobStatus.CANCELLED, {}) == (job.status, sandbox.bills())
    events = await manager.jobs.events(job.id)
    assert list(range(1, len(events) + 1)) == [event.sequence for event in events]


async def test_a_job_whose_pod_was_deleted_is_lost_and_costs_nothing(sandbox, manager, ledger, config):
    """Somebody deletes it on RunPod's page while it trains: failed, in the platform's words, and no orphan is left."""
    job = await manager.jobs.submit("runpod", config(num_epochs=2000))
    seen: list[JobEvent] = []

    def delete(event: JobEvent) -> bool:
        if event.type == "step" and sandbox.pods:
            (pod,) = sandbox.pods.values()
            sandbox.pods.delete_pod(pod)
        return False

    await watch(manager, job.id, seen, delete)
    job = ledger.job(job.id)
    assert JobStatus.FAILED is job.status
    assert "pod" in str(job.reason)
    (account,) = await Reconciler(manager, ledger).reconcile(["runpod"])
    assert () == account.orphans


async def test_a_job_that_the_worker_refuses_ends_its_pod(sandbox, manager, ledger, config):
    """A failure that only the trainer can find: the reason is told, and nothing goes on costing."""
    job = await manager.jobs.submit("runpod", config(target_modules=["no_such_layer"]))
    seen: list[JobEvent] = []
    await watch(manager, job.id, seen, lambda _: False)
    job = ledger.job(job.id)
    assert (JobStatus.FAILED, {}) == (job.status, sandbox.bills())
    assert "no_such_layer" in str(job.reason)
    assert not job.is_resumable


def test_one_command_from_the_shell(studio, write_config, tmp_path):
    """`run --on runpod --sandbox` brings the adapter home."""
    done = studio.json("run", write_config(num_epochs=1), "--on", "runpod", "--sandbox", "--out", tmp_path / "adapter")
    assert ("completed", str(tmp_path / "adapter")) == (done["status"], done["adapter"])
    verify(tmp_path / "adapter")

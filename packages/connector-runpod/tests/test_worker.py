"""The worker itself in a pod: reached through the proxy, and able to end its own machine."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator

import httpx2
import pytest

from peft_studio.models import JobStatus
from peft_studio_runpod.connector import RunpodConnector
from peft_studio_runpod.sandbox import RunpodSandbox
from peft_studio_testkit.tiny_model import write_facts, write_tiny_model

TOKEN = "t" * 40


def worker(sandbox, **variables: str) -> dict[str, str]:
    """The environment of a pod that waits for a job."""
    teardown = {
        "method": "DELETE",
        "url": f"{sandbox.url}/v2/pods/${{RUNPOD_POD_ID}}",
        "headers": {"authorization": "Bearer ${RUNPOD_API_KEY}", "user-agent": "peft-studio-worker"},
        "accept": [204, 404],
    }
    named = {"JOB": "ps-test-1", "TOKEN": TOKEN, "PORT": "8000", "ROOT": "/workspace/jobs", **variables}
    named["TEARDOWN"] = json.dumps([teardown])
    return {f"PEFT_STUDIO_WORKER_{name}": value for name, value in named.items()}


def test_a_worker_is_reached_through_the_proxy_and_gives_its_machine_back(sandbox, rent, eventually, alive):
    """It listens on the pod's port, keeps its job on the mount, and deletes the pod when its client gives it up."""
    pod = rent(
        entrypoint=["python", "-m", "peft_studio_worker", "serve"],
        cmd=None,
        env=worker(sandbox),
        ports=["8000/http"],
        mounts={"persistent": {"size": 20, "path": "/workspace"}},
    )
    address = sandbox.credentials()["proxy_url"].format(pod_id=pod.id, port=8000)
    eventually(lambda: httpx2.get(f"{address}/v1/health").status_code == 200)
    headers = {"authorization": f"Bearer {TOKEN}"}
    assert "pending" == httpx2.get(f"{address}/v1/job", headers=headers).json()["state"]
    assert 401 == httpx2.get(f"{address}/v1/job").status_code
    httpx2.post(f"{address}/v1/ack", headers=headers, json={"abandon": True}).raise_for_status()
    eventually(lambda: pod.is_deleted)
    eventually(lambda: not alive(pod))
    assert {} == sandbox.bills()


@pytest.fixture
def machine(sandbox, rent, eventually) -> Iterator[httpx2.Client]:
    """A worker in a pod with a mount, as its client sees it."""
    pod = rent(
        entrypoint=["python", "-m", "peft_studio_worker", "serve"],
        cmd=None,
        env=worker(sandbox),
        ports=["8000/http"],
        mounts={"persistent": {"size": 20, "path": "/workspace"}},
    )
    address = sandbox.credentials()["proxy_url"].format(pod_id=pod.id, port=8000)
    with httpx2.Client(base_url=f"{address}/v1", headers={"authorization": f"Bearer {TOKEN}"}, timeout=60) as client:
        eventually(lambda: client.get("/health").status_code == 200)
        yield client


def train(sandbox, machine: httpx2.Client, steps: int) -> None:
    """Upload four dozen facts, and start a job on the tiny model."""
    write_tiny_model(sandbox.folder / "tiny-model")
    write_facts(sandbox.folder / "facts.jsonl")
    facts = (sandbox.folder / "facts.jsonl").read_bytes()
    digest = hashlib.sha256(facts).hexdigest()
    machine.put(f"/inputs/{digest}", content=facts, headers={"upload-length": str(len(facts))}).raise_for_status()
    config = {
        "base_model": str(sandbox.folder / "tiny-model"),
        "dataset_path": f"inputs/{digest}.jsonl",
        "rank": 4,
        "max_steps": steps,
        "num_epochs": steps,
        "dtype": "float32",
    }
    job = {"config": config, "inputs": [{"sha256": digest, "size": len(facts), "suffix": ".jsonl"}]}
    machine.put("/job", json=job).raise_for_status()


def events(machine: httpx2.Client) -> Iterator[dict]:
    """Until the job is over."""
    last, is_over = 0, False
    while not is_over:
        answer = machine.get("/events", params={"after": last, "wait": 10}).raise_for_status().json()
        yield from answer["events"]
        last, is_over = answer["last"], answer["is_over"]


@pytest.mark.slow
def test_a_job_trains_in_a_pod_and_its_adapter_comes_home(sandbox, machine, eventually, alive):
    """Upload, train, download, acknowledge, all through the proxy; then the pod has deleted itself."""
    (pod,) = sandbox.pods.values()
    train(sandbox, machine, steps=3)
    told = list(events(machine))
    assert [1, 2, 3] == [event["step"] for event in told if event["type"] == "step"]
    assert "completed" == told[-1]["status"]
    manifest = machine.get("/artifact")
    for file in manifest.json()["files"]:
        content = machine.get(f"/artifact/{file['path']}").content
        assert file["sha256"] == hashlib.sha256(content).hexdigest()
    digest = hashlib.sha256(manifest.content).hexdigest()
    assert 200 == machine.post("/ack", json={"manifest": digest}).status_code
    eventually(lambda: pod.is_deleted and not alive(pod))
    assert {} == sandbox.bills()


@pytest.mark.slow
def test_a_deleted_pod_takes_its_trainer_along(sandbox, api, machine, eventually, alive):
    """The trainer is in a session of its own, and ends all the same."""
    (pod,) = sandbox.pods.values()
    train(sandbox, machine, steps=100_000)
    next(event for event in events(machine) if event["type"] == "step")
    assert len(alive(pod)) > 1
    api.delete(f"/v2/pods/{pod.id}")
    eventually(lambda: not alive(pod))


@pytest.mark.slow
async def test_a_job_that_trains_is_in_the_table(tmp_path):
    """A sandbox that trains shows the job of a pod like any other: what arrived, its log, its status, its artifact."""
    write_tiny_model(tmp_path / "tiny-model")
    write_facts(tmp_path / "facts.jsonl")
    with RunpodSandbox(worker=True) as sandbox:
        sandbox.pods.provisioning_seconds = sandbox.pods.starting_seconds = 0.0
        changes = {"rank": 4, "max_steps": 2, "num_epochs": 1, "dtype": "float32"}
        config = sandbox.training_config(
            base_model=str(tmp_path / "tiny-model"), dataset_path=str(tmp_path / "facts.jsonl"), **changes
        )
        connector = RunpodConnector()
        await connector.connect(sandbox.credentials())
        id = await connector.submit_job(config)
        job = sandbox.jobs[id]
        assert ({}, JobStatus.PENDING) == (job.received, job.status)
        await connector.feed_job(id, config)
        await asyncio.to_thread(sandbox.advance_until, id, JobStatus.COMPLETED)
        assert 4 == job.received["rank"]
        assert any(line.startswith("step 2/2") for line in job.lines)
        assert "adapter_model.safetensors" in job.files
        await connector.end_rental(id)
        assert JobStatus.COMPLETED is job.status
        await connector.disconnect()

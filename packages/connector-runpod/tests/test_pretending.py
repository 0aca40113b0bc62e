"""Pods that are rented for a job, whose worker pretends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from peft_studio.models import JobStatus
from peft_studio.rented import bootstrap_script
from peft_studio_runpod.sandbox.pods import Pod

TOKEN = "t" * 40


@pytest.fixture
def rent_for_a_job(sandbox, api, wanted) -> Callable[..., Pod]:
    """Makes a pod as a connector does; no time passes."""

    def make(script: str | None = None, **variables: str) -> Pod:
        named = {"JOB": "ps-test-1", "TOKEN": TOKEN, "PORT": "8000", **variables}
        body = wanted(
            bootstrap_script() if script is None else script,
            env={f"PEFT_STUDIO_WORKER_{name}": value for name, value in named.items()},
            ports=["8000/http", "9000/http", "22/tcp"],
            mounts={"persistent": {"size": 20, "path": "/workspace"}},
        )
        return sandbox.pods[api.post("/v2/pods", json=body).raise_for_status().json()["id"]]

    return make


@pytest.fixture
def ask(sandbox) -> Callable[..., httpx2.Response]:
    """Asks the worker of a pod."""

    def send(pod: Pod, path: str = "job", method: str = "GET", port: int = 8000, **more: Any) -> httpx2.Response:
        address = sandbox.credentials()["proxy_url"].format(pod_id=pod.id, port=port)
        headers = {"authorization": f"Bearer {TOKEN}"}
        return httpx2.request(method, f"{address}/v1/{path}", headers=headers, timeout=20, **more)

    return send


def test_a_pod_and_its_job_are_one_thing(sandbox, rent_for_a_job, ask, alive):
    """It runs at once, without a process; its job has its id and its tag, and waits until it is brought there."""
    pod = rent_for_a_job()
    job = sandbox.jobs[pod.id]
    assert ("RUNNING", "ps-test-1", JobStatus.PENDING) == (pod.status, job.tag, job.status)
    assert (False, "pending") == tuple(ask(pod).json()[name] for name in ("has_job", "state"))
    assert [] == alive(pod)
    assert "worker" in ask(pod, "health").json()
    assert 502 == ask(pod, "health", port=9000).status_code
    assert any("waits for its job" in line for line in pod.log.container_lines)


def test_another_command_really_runs(sandbox, rent_for_a_job, eventually):
    """Only the start command of ours is pretended."""
    pod = rent_for_a_job("echo hello; sleep 60")
    assert "PROVISIONING" == pod.status
    assert {} == dict(sandbox.jobs)
    sandbox.advance(5)
    eventually(lambda: pod.log.container_lines == ["hello"])


def test_deleting_a_pod_ends_its_job(sandbox, api, rent_for_a_job, ask):
    """The job is cancelled; the pod is gone, and its address with it."""
    pod = rent_for_a_job()
    assert 204 == api.delete(f"/v2/pods/{pod.id}").status_code
    assert JobStatus.CANCELLED is sandbox.jobs[pod.id].status
    assert [404, 404] == [api.get(f"/v2/pods/{pod.id}").status_code, ask(pod).status_code]
    assert {} == sandbox.bills()


def test_a_platform_may_agree_and_do_nothing(sandbox, api, rent_for_a_job):
    """While its job cannot be cancelled, a pod that was deleted stays."""
    pod = rent_for_a_job()
    sandbox.jobs[pod.id].cancel = lambda: True
    assert 204 == api.delete(f"/v2/pods/{pod.id}").status_code
    assert "RUNNING" == api.get(f"/v2/pods/{pod.id}").json()["status"]
    assert [pod.id] == list(sandbox.bills())


def test_a_new_word_is_told_as_it_is(sandbox, api, rent_for_a_job):
    """The word of a job is the status of its pod."""
    pod = rent_for_a_job()
    sandbox.jobs[pod.id].word = "HIBERNATING"
    assert "HIBERNATING" == api.get(f"/v2/pods/{pod.id}").json()["status"]


def test_seeded_jobs_are_pods(sandbox, api):
    """What waits or runs is RUNNING, what is paused EXITED, what is over is gone; all of it takes no stock."""
    free = sandbox.catalogue.free("NVIDIA GeForce RTX 4090", "SECURE", "US-KS-2")
    for status in JobStatus:
        sandbox.jobs.add(tag=f"ps-{status}", status=status)
    sandbox.jobs.add(id="nobodys", status=JobStatus.RUNNING)
    shown = {pod["name"]: pod for pod in api.get("/v2/pods").json()["pods"]}
    assert {"ps-pending": "RUNNING", "ps-running": "RUNNING", "ps-paused": "EXITED", "nobodys": "RUNNING"} == {
        name: pod["status"] for name, pod in shown.items()
    }
    assert {} == shown["nobodys"]["env"]
    assert "ps-paused" == shown["ps-paused"]["env"]["PEFT_STUDIO_WORKER_JOB"]
    assert free == sandbox.catalogue.free("NVIDIA GeForce RTX 4090", "SECURE", "US-KS-2")


def test_many_pods_come_in_pages(sandbox, api):
    """A client that stops after the first page has not seen all of them."""
    for number in range(150):
        sandbox.jobs.add(tag=f"ps-{number}", status=JobStatus.RUNNING)
    page = api.get("/v2/pods").json()
    assert (100, True) == (len(page["pods"]), page["pagination"]["hasNextPage"])


def test_a_stopped_pod_is_out_of_reach(sandbox, api, ask):
    """Its job stands still, and goes on where it was when the pod is started."""
    job = sandbox.jobs.add(tag="ps-test-1", status=JobStatus.RUNNING)
    pod = sandbox.pods[job.id]
    assert 200 == api.post(f"/v2/pods/{pod.id}/action", json={"action": "stop"}).status_code
    assert (JobStatus.PAUSED, 502) == (job.status, ask(pod).status_code)
    sandbox.advance(1000)
    assert "RUNNING" == api.post(f"/v2/pods/{pod.id}/action", json={"action": "start"}).json()["status"]
    assert JobStatus.RUNNING is job.status
    assert 401 == ask(pod).status_code  # its token is another one


def test_a_long_wait_is_cut_off_by_the_proxy(sandbox, rent_for_a_job, ask):
    """As for a pod that runs: who waits longer for the first byte than the proxy does gets 524."""
    pod = rent_for_a_job()
    sandbox.proxy.limit = 0.1
    assert 524 == ask(pod, "events?wait=10").status_code
    assert 200 == ask(pod, "events?wait=0").status_code


def test_a_wrong_setting_is_told_in_the_log(rent_for_a_job, ask):
    """A worker that cannot start never answers, and the log of the pod says why."""
    pod = rent_for_a_job(DEADLINE="soon")
    assert 502 == ask(pod, "health").status_code
    assert any("PEFT_STUDIO_WORKER_DEADLINE must be a number" in line for line in pod.log.container_lines)


def test_a_pod_ends_itself_with_its_own_key(sandbox, rent_for_a_job, ask):
    """The teardown recipe is filled from what the platform injects, and done."""
    recipe = (
        f'[{{"url": "{sandbox.url}/v2/pods/${{RUNPOD_POD_ID}}",'
        ' "headers": {"authorization": "Bearer ${RUNPOD_API_KEY}", "user-agent": "worker/1"}, "accept": [204]}]'
    )
    pod = rent_for_a_job(TEARDOWN=recipe)
    assert 200 == ask(pod, "ack", "POST", json={"abandon": True}).status_code
    assert pod.is_deleted
    assert {} == sandbox.bills()

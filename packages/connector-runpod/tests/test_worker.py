"""The worker itself in a pod: reached through the proxy, and able to end its own machine."""

from __future__ import annotations

import json

import httpx2


def worker(sandbox, **variables: str) -> dict[str, str]:
    """The environment of a pod that waits for a job."""
    teardown = {
        "method": "DELETE",
        "url": f"{sandbox.url}/v2/pods/${{RUNPOD_POD_ID}}",
        "headers": {"authorization": "Bearer ${RUNPOD_API_KEY}", "user-agent": "peft-studio-worker"},
        "accept": [204, 404],
    }
    named = {"JOB": "ps-test-1", "TOKEN": "t" * 40, "PORT": "8000", "ROOT": "/workspace/jobs", **variables}
    named["TEARDOWN"] = json.dumps([teardown])
    return {f"PEFT_STUDIO_WORKER_{name}": value for name, value in named.items()}


def test_a_worker_is_reached_through_the_proxy_and_gives_its_machine_back(sandbox, rent, eventually, alive):
    """It listens on the pod's port, keeps its job on the mount, and deletes the pod when no job comes."""
    pod = rent(
        entrypoint=["python", "-m", "peft_studio_worker", "serve"],
        cmd=None,
        env=worker(sandbox, WAIT="2"),
        ports=["8000/http"],
        mounts={"persistent": {"size": 20, "path": "/workspace"}},
    )
    address = sandbox.credentials()["proxy_url"].format(pod_id=pod.id, port=8000)
    eventually(lambda: httpx2.get(f"{address}/v1/health").status_code == 200)
    headers = {"authorization": f"Bearer {'t' * 40}"}
    assert "pending" == httpx2.get(f"{address}/v1/job", headers=headers).json()["state"]
    assert 401 == httpx2.get(f"{address}/v1/job").status_code
    eventually(lambda: pod.is_deleted)
    eventually(lambda: not alive(pod))
    assert {} == sandbox.bills()

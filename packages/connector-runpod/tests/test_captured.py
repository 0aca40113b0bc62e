"""Requests that RunPod's own clients sent once, byte for byte but for the pod's id: what they wanted happens."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx2


def captured(name: str) -> Iterator[dict[str, str]]:
    """In the order in which they were sent."""
    file = Path(__file__).with_name("captured") / f"{name}.jsonl"
    return map(json.loads, file.read_text(encoding="utf-8").splitlines())


def replay(sandbox, request: dict[str, str], old_id: str) -> httpx2.Response:
    """Send it with the key of this sandbox; its log streams never end, so only their heads are read."""
    pod_id = next(iter(sandbox.pods), old_id)
    headers = {"authorization": f"Bearer {sandbox.key}", "user-agent": request["user-agent"]}
    if request["body"]:
        headers["content-type"] = "application/json"
    url = f"{sandbox.url}{request['path'].replace(old_id, pod_id)}?{request['query']}"
    body = request["body"].replace(old_id, pod_id)
    with httpx2.stream(request["method"], url, headers=headers, content=body) as answer:
        if not request["path"].endswith("/logs"):
            answer.read()
        return answer


def test_the_requests_of_the_mcp_server(sandbox):
    """Catalogue, create, list, get, logs, stop, rename, delete, bill."""
    statuses = []
    for request in captured("runpod-mcp-server-4.0.0"):
        statuses.append(replay(sandbox, request, "7h9k2m4n6p").status_code)
        sandbox.advance(5)
    assert [200, 201, 200, 200, 200, 200, 200, 204, 200] == statuses
    assert ["x"] == [pod.spec.name for pod in sandbox.pods.deleted.values()]


def test_the_requests_of_the_python_package(sandbox):
    """User, catalogue, create, list, get, stop, resume, terminate: no document has an error."""
    for request in captured("runpod-python-1.12.0"):
        answer = replay(sandbox, request, "pod1")
        assert 200 == answer.status_code
        assert "errors" not in answer.json(), (request, answer.json())
        sandbox.advance(5)
    (pod,) = sandbox.pods.deleted.values()
    assert ("lora-1", {"A": "b"}, ("22/tcp",), 40) == (pod.spec.name, pod.spec.env, pod.spec.ports, pod.spec.disk)
    assert ["bash", "-c", "echo hi"] == pod.spec.command
    assert {} == sandbox.bills()

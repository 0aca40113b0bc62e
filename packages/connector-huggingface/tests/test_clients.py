"""`huggingface_hub`, unchanged and in an environment of its own: it takes the sandbox for the Hub.

It comes from the public registry; where that cannot be reached, the tests are skipped and say so.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from peft_studio_huggingface.sandbox import HuggingFaceSandbox
from peft_studio_huggingface.sandbox.git import object_id, pointer
from peft_studio_testkit.vendor import python_with

pytestmark = pytest.mark.slow

Run = Callable[..., Any]
CLIENTS = Path(__file__).with_name("clients")
BASE = "HuggingFaceTB/SmolLM2-135M-Instruct"
CARD = f"---\nbase_model: {BASE}\nlibrary_name: peft\ntags:\n- lora\nlicense: apache-2.0\n---\n\n# Tiny\n"


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment with the newest `huggingface_hub`."""
    return python_with(tmp_path_factory.mktemp("client"), "huggingface_hub")


@pytest.fixture
def run(sandbox: HuggingFaceSandbox, python: Path, tmp_path: Path) -> Run:
    """Runs one of the programs and gives what it saw."""

    def program(name: str, *arguments: str | Path, python: Path = python, **variables: str) -> Any:
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **sandbox.environment(), **variables}
        done = subprocess.run(
            [python, CLIENTS / name, *arguments],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return program


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """A folder with a card, a config, weights and a file in a folder."""
    folder = tmp_path / "adapter"
    (folder / "metrics").mkdir(parents=True)
    (folder / "README.md").write_text(CARD, encoding="utf-8")
    (folder / "adapter_config.json").write_text('{"r": 8}', encoding="utf-8")
    (folder / "adapter_model.safetensors").write_bytes(bytes(range(256)) * 400)
    (folder / "metrics/loss.csv").write_text("0,2.31\n1,1.87\n", encoding="utf-8")
    (folder / "empty").touch()
    return folder


def digests(folder: Path) -> dict[str, str]:
    """The sha256 of every file."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_repository_lives(sandbox, run, adapter):
    """Token, create, upload, list, metadata, references, conflicts, download by pin, and what it makes of refusals."""
    stranger, reader = sandbox.accounts.issue("stranger"), sandbox.accounts.issue("me", "read")
    sandbox.hub.add("acme/gated", {"config.json": b"{}"}, gated="manual")
    seen = run("repositories.py", str(adapter), "hf_wrong", stranger, reader)
    content = (adapter / "adapter_model.safetensors").read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    assert [sha256, len(content), object_id("blob", pointer(sha256, len(content)))] == seen.pop("lfs")
    assert digests(adapter) == seen.pop("digests")
    whoami = seen.pop("whoami")
    assert ["me", "write", "read"] == [*whoami[:2], whoami[2]["accessToken"]["role"]]
    tags = ["peft", "safetensors", "lora", f"base_model:{BASE}", f"base_model:adapter:{BASE}", "license:apache-2.0"]
    files = [".gitattributes", "README.md", "adapter_config.json", "adapter_model.safetensors", "empty"]
    assert {
        "wrong token": "HfHubHTTPError 401",
        "url": f"{sandbox.url}/me/tiny-lora",
        "again": ["HfHubHTTPError 409", f"{sandbox.url}/me/tiny-lora"],
        "read only": "HfHubHTTPError 403",
        "not mine": "HfHubHTTPError 403",
        "unchanged": True,
        "files": [*files, "metrics/loss.csv"],
        "info": [True, True, "peft", BASE, tags],
        "verified": 5,
        "moved on": "HfHubHTTPError 412",
        "history": ["Delete note.txt with huggingface_hub", "Second", "First", "initial commit"],
        "refs": [["main", "next"], ["v1"]],
        "pinned": "new",
        "tag": True,
        "paths": ["README.md"],
        "missing file": "RemoteEntryNotFoundError 404",
        "missing revision": "RevisionNotFoundError 404",
        "hidden": ["RepositoryNotFoundError 404", "RepositoryNotFoundError 401"],
        "hidden file": "RepositoryNotFoundError 404",
        "gated": ["GatedRepoError 403", "GatedRepoError 401"],
        "gated info": "manual",
        "bad card": "ValueError None",
        "gone": ["RepositoryNotFoundError 404", False],
    } == seen
    assert 1 == sandbox.count("POST", "/commit/main$")  # what is unchanged is not sent, nor is a bad card
    stored = [each for each in sandbox.requests if each.path.startswith("/lfs/")]
    assert {"PUT", "GET"} <= {each.method for each in stored}
    assert not any("authorization" in each.headers for each in stored)


def test_a_search_pages_and_filters(sandbox, run):
    """Every hit of 45 by the `Link` header; by author, tags and words; private ones for their owner alone."""
    for number in range(45):
        sandbox.hub.add(f"acme/number-{number}", downloads=number)
    sandbox.hub.add("me/Tiny-LoRA", {"README.md": CARD.encode(), "adapter_config.json": b"{}"})
    sandbox.hub.add("me/secret", private=True)
    assert {
        "all": 45,
        "first": [f"acme/number-{number}" for number in range(44, 37, -1)],
        "adapters": ["me/Tiny-LoRA"],
        "words": ["me/Tiny-LoRA"],
        "anonymous": [],
        "own": ["me/secret"],
        "expanded": [[number, None] for number in (39, 38, 37, 36, 35, 34, 33, 32, 31, 30, 3)],
    } == run("search.py")
    assert 3 == sum(
        ("author", "acme") in each.query and ("sort", "downloads") not in each.query for each in sandbox.requests
    )


def test_a_transfer_survives_what_a_network_does(sandbox, run, adapter):
    """Parts that are refused for a moment, a download that falls silent and goes on at a `Range`, too many requests."""
    (adapter / "big.safetensors").write_bytes(bytes(range(256)) * 4096 * 24)
    sandbox.multipart.above, sandbox.multipart.part_size = 10 * 2**20, 8 * 2**20
    refused = sandbox.faults.add("status", "PUT", "^/lfs/", code=503)
    too_many = sandbox.faults.add("status", "GET", "/tree/", code=429, headers={"RateLimit": '"api";r=0;t=0'})
    silent = sandbox.faults.add("half_open", "GET", digests(adapter)["big.safetensors"], bytes=21 * 2**20)
    assert digests(adapter) == run("transfer.py", adapter, HF_HUB_DOWNLOAD_TIMEOUT="6")
    assert [1, 1, 1] == [fault.hits for fault in (refused, silent, too_many)]
    parts = [each for each in sandbox.requests if re.search(r"^/lfs/.+/.+/\d$", each.path) and each.status == 200]
    assert [8 * 2**20] * 3 == [part.size for part in parts]
    ranges = [each.headers["range"] for each in sandbox.requests if "range" in each.headers]
    assert [f"bytes={20 * 2**20}-"] == ranges


def test_a_client_that_insists_on_xet_uploads_into_the_commit(sandbox, run, adapter):
    """There is no Xet for it, and it takes no other way; but where nothing is for LFS, it needs neither."""
    assert "/xet-write-token/" in run("transfer.py", adapter, HF_HUB_DISABLE_XET="0")
    sandbox.hub.delete("me/transfer")
    sandbox.hub.has_lfs = False
    assert digests(adapter) == run("transfer.py", adapter, HF_HUB_DISABLE_XET="0")
    assert [] == [each for each in sandbox.requests if each.path.startswith("/lfs/")]


def test_peft_pushes_and_loads_an_adapter(sandbox, run):
    """`push_to_hub` and `from_pretrained` of transformers and peft: the adapter that comes back computes the same."""
    pytest.importorskip("peft")
    seen = run("adapter.py", python=Path(sys.executable))
    assert {"same as pushed": True, "same as the base": False, "base": "me/tiny-base"} == seen
    assert {"adapter_config.json", "adapter_model.safetensors"} <= set(sandbox.hub["me/tiny-lora"].head.files)
    assert sandbox.hub["me/tiny-lora"].private


def test_a_job_lives(run):
    """Hardware, run, a log that is followed through a cut, inspect, tail, timeout, cancel, list, and refusals."""
    with HuggingFaceSandbox(speed=30) as sandbox:
        sandbox.page_size = 2  # type: ignore[misc]  # of this one
        sandbox.script(lines=["one", "two", "drei – 三"], pending_seconds=5, running_seconds=90)
        cut = sandbox.faults.add("drop_after", "GET", "/logs$", events=2)

        def let_the_third_run_on(received):
            if sandbox.count("POST", "/api/jobs/me$") == 2:
                sandbox.script(running_seconds=36_000)

        sandbox.on_answer = let_the_third_run_on
        seen = run("jobs.py", **sandbox.environment())
        assert ([], {}, 1) == (sandbox.errors, sandbox.bills(), cut.hits)
        assert {"TOKEN": "x"} == next(iter(sandbox.jobs.values())).received["secrets"]
    job = ["a10g-small", ["TOKEN"], "1", "me"]
    assert {
        "hardware": [26, 0.016667, "4"],
        "created": ["SCHEDULING", None, *job],
        "lines": ["one", "two", "drei – 三"],
        "done": ["COMPLETED", None, *job, 5, 90],
        "tail": ["two", "drei – 三"],
        "timeout": ["ERROR", "Job timeout", "cpu-basic", [], "2", "me"],
        "cancelled": ["CANCELED", None, "cpu-basic", [], "3", "me"],
        "listed": ["3", "2", "1"],
        "filtered": ["2"],
        "unknown": "JobNotFoundError 404",
        "not mine": "HfHubHTTPError 403",
        "flavor": "BadRequestError 400",
    } == seen


def test_an_endpoint_lives(run):
    """Prices, create, wait until it is healthy, list, scale to zero, resume, pause, delete, and refusals."""
    with HuggingFaceSandbox() as sandbox:
        sandbox.serving.start = (60, 600)
        sandbox.hub.add("me/tiny", private=True)
        url = sandbox.endpoints_url

        def come_up(received):
            if (received.method, received.path) == ("GET", "/v2/endpoint/me/tiny"):
                sandbox.advance(600)

        sandbox.on_answer = come_up
        seen = run("endpoints.py", **sandbox.environment(), ENDPOINTS_URL=url)
        assert ([], {}, 1) == (sandbox.errors, sandbox.bills(), sandbox.count("GET", "/health$"))
        address = f"{sandbox.url}/served/me/tiny"
    prices = seen.pop("prices")
    assert (0.5, 2.5) == (prices["nvidia-t4 x1"], prices["nvidia-a100 x1"])
    assert {
        "created": ["pending", None],
        "again": "HfHubHTTPError 409",
        "unknown machine": "BadRequestError 400",
        "running": ["running", address],
        "listed": ["tiny"],
        "zero": "scaledToZero",
        "resumed": "pending",
        "twice": "pending",
        "paused": "paused",
        "gone": "HfHubHTTPError 404",
    } == seen

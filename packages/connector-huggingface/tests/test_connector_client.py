"""What the connector publishes is what the Hub's own client finds there, and the other way round."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

FILES = {"adapter_config.json": b'{"r": 8}', "adapter_model.safetensors": bytes(range(256)) * 512, "a/b.json": b"{}"}
DOWN = "from huggingface_hub import snapshot_download; snapshot_download('me/lora', local_dir='down', revision='next')"
UP = """
from huggingface_hub import HfApi
HfApi().create_repo("me/lora", private=True)
HfApi().upload_folder(repo_id="me/lora", folder_path="up")
"""


@pytest.fixture
def run(sandbox, tmp_path):
    """Runs a program that uses `huggingface_hub` as its documentation shows it."""

    async def program(code):
        environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **sandbox.environment()}
        done = await asyncio.create_subprocess_exec(sys.executable, "-c", code, env=environment, cwd=tmp_path)
        assert 0 == await done.wait()

    return program


def put(folder: Path) -> Path:
    """The files on the disk."""
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def taken(folder: Path) -> dict[str, bytes]:
    """Those of the files that are there."""
    return {name: (folder / name).read_bytes() for name in FILES}


async def test_the_hubs_client_downloads_what_was_uploaded(connector, run, tmp_path):
    """From the branch that it was put on, with a card that says what it is."""
    await connector.upload_artifact(str(put(tmp_path / "up")), {"repo_id": "me/lora", "revision": "next"})
    await run(DOWN)
    assert FILES == taken(tmp_path / "down")
    assert "library_name" in (tmp_path / "down" / "README.md").read_text(encoding="utf-8")


async def test_what_the_hubs_client_uploaded_is_downloaded(connector, run, tmp_path):
    """And nothing else; to upload it again is no commit."""
    put(tmp_path / "up")
    await run(UP)
    folder = await connector.download_model("me/lora", tmp_path / "down")
    assert FILES == taken(folder)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert sorted(FILES) == [entry["path"] for entry in manifest["files"]]


async def test_what_the_hubs_client_uploaded_is_not_sent_again(sandbox, connector, run, tmp_path):
    """A file is enough: its content is known there."""
    up = put(tmp_path / "up")
    await run(UP)
    head = sandbox.hub["me/lora"].head.id
    await connector.upload_artifact(str(up / "adapter_model.safetensors"), {"repo_id": "me/lora"})
    assert head == sandbox.hub["me/lora"].head.id

"""The examples work as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
QUICKSTART = ROOT / "examples" / "quickstart"
FOLDER = ROOT / "docs" / "examples" / "peft-studio-folder"


@pytest.mark.slow
def test_quickstart(studio, tiny_model, tmp_path):
    """The quickstart's config trains; only the model is a small one here."""
    done = studio("run", QUICKSTART / "job.toml", "--set", f"base_model={tiny_model}", "--out", tmp_path / "adapter")

    assert "validation at step" in done.stdout
    assert (tmp_path / "adapter" / "adapter_config.json").is_file()


@pytest.mark.slow
def test_quickstart_in_python(studio, tiny_model, tmp_path):
    """The quickstart's program trains and brings the adapter home."""
    for path in QUICKSTART.iterdir():
        (tmp_path / path.name).write_text(
            path.read_text().replace("HuggingFaceTB/SmolLM2-135M-Instruct", str(tiny_model))
        )
    done = subprocess.run(
        [sys.executable, tmp_path / "train.py"], capture_output=True, text=True, check=True, cwd=tmp_path,
        env={**os.environ, "PEFT_STUDIO_HOME": str(studio.home)},
    )  # fmt: skip

    assert "adapter: my-adapter" == done.stdout.splitlines()[-1]
    assert (tmp_path / "my-adapter" / "manifest.json").is_file()
    assert ["completed"] == [job["status"] for job in studio.json("jobs", "list")]


@pytest.fixture
def installed_example(unpacked):
    """A folder on the path that holds the example connector."""
    return unpacked(FOLDER)


def test_example_connector_is_found_and_right(studio, installed_example):
    """The tutorial's connector is described without an import, and `check` has nothing to mend."""
    studio.environment["PYTHONPATH"] = str(installed_example)
    records = {record["name"]: record for record in studio.json("connectors", "list")}

    assert ("described", ["registry"], []) == (
        records["folder"]["state"], records["folder"]["features"], records["folder"]["problems"],
    )  # fmt: skip
    assert [] == studio.json("connectors", "check", "folder")["findings"]


def test_example_connector_is_usable(studio, installed_example, tmp_path):
    """An adapter goes into the shared folder, is found there, and comes back the same."""
    program = """
import asyncio, sys
from pathlib import Path
from peft_studio import ConnectorManager
from peft_studio.artifacts import verify, write_manifest

async def main(shared, work):
    adapter = work / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"base_model_name_or_path": "org/model"}')
    write_manifest(adapter)
    async with ConnectorManager() as manager:
        await manager.connect("folder", {"path": str(shared)})
        name = await manager.upload_artifact("folder", adapter, {"name": "first"})
        folder = manager.get_connector("folder")
        (found,) = await folder.search_models("fir")
        assert (name, "org/model") == (found.id, found.base_model), found
        verify(await folder.download_model("first", work / "back"))

asyncio.run(main(*map(Path, sys.argv[1:])))
"""
    for name in ("shared", "work"):
        (tmp_path / name).mkdir()
    environment = {**os.environ, "PYTHONPATH": str(installed_example), "PEFT_STUDIO_HOME": str(studio.home)}
    done = subprocess.run(
        [sys.executable, "-c", program, tmp_path / "shared", tmp_path / "work"],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip

    assert "" == done.stderr
    assert {"adapter_config.json", "manifest.json"} == {path.name for path in (tmp_path / "work" / "back").iterdir()}

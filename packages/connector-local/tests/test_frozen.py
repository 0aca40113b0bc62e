"""A frozen program (PyInstaller) has no `python -m`: its executable is the program itself."""

from __future__ import annotations

import asyncio
import sys

import pytest

from peft_studio import PlatformError, TrainingConfig
from peft_studio_local import worker_process
from peft_studio_local.connector import LocalConnector


@pytest.fixture(autouse=True)
def frozen(monkeypatch):
    """What PyInstaller's start-up sets."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)


def test_a_job_is_refused_before_anything_is_written(tmp_path):
    """Started anyway, the program would start itself, and so on."""
    (tmp_path / "data.jsonl").write_text('{"prompt": "a", "completion": "b"}\n')
    config = TrainingConfig(base_model="org/model", dataset_path=str(tmp_path / "data.jsonl"))
    with pytest.raises(PlatformError, match="a frozen program has no Python that could train"):
        asyncio.run(LocalConnector(tmp_path / "jobs").submit_job(config))

    assert not (tmp_path / "jobs").exists()


def test_a_model_is_not_asked(tmp_path):
    """The demo and the chat run the worker too."""
    with pytest.raises(PlatformError, match="a frozen program has no Python that could train"):
        worker_process.ask("model", ["question"], print, max_new_tokens=1)

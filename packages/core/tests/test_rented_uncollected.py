"""Where an adapter goes that nobody has fetched when its machine ends."""

from __future__ import annotations

import json
from typing import Any

import pytest

from peft_studio import TrainingConfig
from peft_studio.rented import hub_variables


def config(*places: str) -> TrainingConfig:
    """A job that wants its adapter published."""
    return TrainingConfig(base_model="m", dataset_path="d", push_to=places)


@pytest.mark.parametrize(
    ("chosen", "places", "expected"),
    [
        ("me/kept", ("huggingface:me/mine",), "me/kept"),
        (None, ("civitai:17", "huggingface:me/mine@draft", "huggingface:me/second"), "me/mine"),
        (None, ("civitai:17",), None),
        (None, (), None),
    ],
)
def test_setting_goes_before_the_config(chosen: str | None, places: tuple[str, ...], expected: str | None) -> None:
    """A machine can push to the Hugging Face Hub alone, in a repository that is private when it is new."""
    found: dict[str, Any] = dict(hub_variables(config(*places), chosen, "hf_machines"))
    assert "hf_machines" == found.pop("HF_TOKEN")
    push = {"kind": "huggingface", "repo_id": expected, "private": True, "token_env": "HF_TOKEN"}
    assert ([push] if expected else []) == [json.loads(value) for value in found.values()]


def test_machine_without_a_token_pushes_nowhere() -> None:
    """The user's own token stays at home."""
    assert {} == hub_variables(config("huggingface:me/mine"), None, None)

"""The card of an adapter, and the loss curve that it is drawn from."""

from __future__ import annotations

from pathlib import Path

import pytest

from peft_studio import TrainingConfig
from peft_studio_worker.training.base_model import BaseModel
from peft_studio_worker.training.checkpoints import CURVE, Progress
from peft_studio_worker.training.model_card import model_card


def trained(steps: int) -> Progress:
    """After so many steps, each of which has lost a little."""
    progress = Progress()
    for step in range(1, steps + 1):
        progress.step = step
        progress.note_loss(1 / step)
    return progress


def card(folder: Path, progress: Progress, **settings: str) -> str:
    """The card of an adapter for a model of the hub."""
    config = TrainingConfig.from_dict({"base_model": "org/base", "dataset_path": "/home/me/facts.jsonl", **settings})
    base = BaseModel(folder, "org/base", "huggingface", revision="abc")
    return model_card(config, base, progress, examples=48, tokens=1000, versions={"torch": "2"})


@pytest.mark.parametrize("steps", [1, CURVE, CURVE + 1, 10 * CURVE])
def test_curve_stays_short_and_even(steps: int) -> None:
    """Of many steps every second, fourth, … one is kept, in order."""
    progress = trained(steps)
    kept = [step for step, _ in progress.losses]
    assert list(range(progress.stride, steps + 1, progress.stride)) == kept
    assert CURVE / 2 <= len(kept) <= CURVE or steps < CURVE
    assert (1.0, 1 / steps) == (progress.first_loss, progress.last_loss)


def test_card_tells_the_loss(tmp_path: Path) -> None:
    """As a line and as a table, from high to low."""
    told = card(tmp_path, trained(4))
    assert "`█▃▂▁`" in told
    assert "| 1 | 1.0000 |\n| 2 | 0.5000 |\n| 3 | 0.3333 |\n| 4 | 0.2500 |\n" in told
    assert "training loss |\n" not in card(tmp_path, trained(1))


def test_card_names_the_data(tmp_path: Path) -> None:
    """By its file's name and no folder of the user's; by another name when there is one, and by a link into the hub."""
    assert "* data: `facts.jsonl`, 48 examples" in card(tmp_path, trained(2))
    assert "/home/me" not in card(tmp_path, trained(2))
    assert "* data: `facts of 2026`" in card(tmp_path, trained(2), dataset_name="facts of 2026")
    told = card(tmp_path, trained(2), dataset_name="acme/quotes")
    assert "datasets:\n- acme/quotes\n" in told
    assert "[`acme/quotes`](https://huggingface.co/datasets/acme/quotes)" in told

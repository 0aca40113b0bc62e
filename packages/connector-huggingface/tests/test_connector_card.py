"""The card: only what is known, safe to read as YAML and as a table."""

from __future__ import annotations

import json

import yaml

from peft_studio_huggingface.card import Card
from peft_studio_huggingface.repository import Model


def card(tmp_path, metadata=None, **record):
    """The card of a folder with that record."""
    (tmp_path / "peft_studio.json").write_text(json.dumps(record), encoding="utf-8")
    return Card.of(metadata or {}, tmp_path, "me/lora")


def header(text):
    """The YAML of a card."""
    return yaml.safe_load(text.split("---\n")[1])


def test_nothing_known_is_nothing_told(tmp_path):
    """Not even a base model; that the licence is unknown is told."""
    text = Card.of({}, tmp_path, "me/lora").render()
    assert {"library_name": "peft", "pipeline_tag": "text-generation", "tags": ["peft", "peft-studio"]} == header(text)
    assert "Unknown" in text


def test_a_path_of_this_machine_is_no_base_model_on_the_hub(tmp_path):
    """The Hub would refuse the card, and it is nobody's business."""
    text = card(tmp_path, base_model={"name": "tiny", "source": "local"}).render()
    assert "base_model" not in header(text)


def test_texts_cannot_break_out(tmp_path):
    """Neither of the header nor of a table."""
    metadata = {"name": "x", "tags": ["a: b", '"\n---\n'], "metrics": {"a|b": "1\n| 2"}}
    text = card(tmp_path, metadata).render()
    assert ["a: b", '"\n---\n'] == header(text)["tags"][-2:]
    assert "| a\\|b | 1 \\| 2 |" in text


def test_the_licence_of_the_base_has_its_name(tmp_path):
    """`other` says nothing without it."""
    base = Model.of(
        {"id": "acme/tiny", "cardData": {"license": "other", "license_name": "tiny-1", "license_link": "L"}}
    )
    told = header(card(tmp_path, {"base_model": "acme/tiny"}).with_license_of(base).render())
    assert ("other", "tiny-1", "L") == (told["license"], told["license_name"], told["license_link"])


def test_a_long_curve_is_thinned_out(tmp_path):
    """Its ends stay; what is no number is left out."""
    rows = [{"step": step, "loss": 1 / (step + 1)} for step in range(1000)]
    text = card(tmp_path, {"loss_curve": [*rows, {"step": 1000, "loss": None}, "x", [1001, float("nan")]]}).render()
    lines = text.partition("## Loss")[2].partition("## Licence")[0].strip().splitlines()
    assert ("| 0 | 1.0000 |", "| 999 | 0.0010 |", 24) == (lines[4], lines[-1], len(lines))


def test_a_record_that_cannot_be_read_is_none(tmp_path):
    """The upload goes on without it."""
    (tmp_path / "peft_studio.json").write_text("[1", encoding="utf-8")
    assert Card.of({}, tmp_path, "me/lora").base_model is None
